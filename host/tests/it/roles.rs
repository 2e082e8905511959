//! The halves apart, joined by Kafka: `serve --role server` and `serve --role engine`.

use anomalyzer::domain::{DecisionState, VerificationOutcome, now_ms, solutions};
use anomalyzer::history::{Filter, Page};
use anomalyzer::serve::{self, Role, Running};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::serve::{MINUTE, configured, ended, heal, show, show_ordinary};
use crate::wait::until;

/// One half with a folder of its own, as on a machine of its own.
struct Half {
    running: Running,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Half {
    async fn start(role: Role, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let running = serve::start(configured(folder.path(), more), role, shutdown.clone()).await.unwrap().unwrap();
        Self { running, shutdown, _folder: folder }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.ended().await;
    }
}

#[tokio::test]
async fn an_engine_that_is_started_again_in_an_incident_goes_on_with_it() {
    const NAME: &str = "an_engine_that_is_started_again_in_an_incident_goes_on_with_it";
    let Some(kafka) = anomalyzer_testbed::shared::kafka(NAME) else { return };
    let topic = |name: &str| format!("{name} = 'roles-{}-{name}'", now_ms());
    let more = format!(
        "[incidents]\nconfirm_after = '5s'\nquiet_for = '1s'\nreaffirm_within = '15s'\n\
         [kafka]\nbrokers = '{}'\nsession_timeout = '6s'\ntopics = {{ {}, {}, {}, {} }}\n",
        kafka.brokers,
        topic("metrics"),
        topic("incidents"),
        topic("solutions"),
        topic("decisions"),
    );
    let server = Half::start(Role::Server, &more).await;
    let engine = Half::start(Role::Engine, &more).await;
    let (bus, history) = (server.running.bus(), server.running.history().unwrap());
    show_ordinary(bus.as_ref(), &engine.running).await;
    show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
    let open = until("an incident of both signals is open", MINUTE, async || {
        let (open, _) = history.incidents(Some(true), Page::default()).await.unwrap();
        open.into_iter().find(|incident| incident.findings.len() == 2)
    })
    .await;
    engine.stop().await;
    // What comes meanwhile waits for the next engine.
    show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
    let engine = Half::start(Role::Engine, &more).await;
    let surge = async {
        loop {
            show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let (decisions, _) = history.decisions(&Filter::default(), Page::default()).await.unwrap();
            if !decisions.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(2 * MINUTE, surge).await.unwrap();

    let over = async {
        let decision = ended(&server.running, solutions::SCALE_UP, 2 * MINUTE).await;
        until("the incident is over", 2 * MINUTE, async || (server.running.open_incidents() == 0).then_some(())).await;
        decision
    };
    let decision = tokio::select! {
        decision = over => decision,
        never = heal(&server.running) => match never {},
    };
    assert_eq!((decision.state, decision.incident.as_ref()), (DecisionState::Done, Some(&open.id)));
    assert_eq!(decision.verification.unwrap().outcome, VerificationOutcome::Improved);
    let closed = async || {
        let (incidents, _) = history.incidents(None, Page::default()).await.unwrap();
        incidents.iter().all(|incident| !incident.is_open()).then_some(incidents)
    };
    let incidents = until("the end of the incident is on record", MINUTE, closed).await;
    let told: Vec<_> = incidents.iter().map(|incident| (&incident.id, incident.is_open())).collect();
    assert_eq!(told, [(&open.id, false)], "neither forgotten nor doubled");
    let (decisions, _) = history.decisions(&Filter::default(), Page::default()).await.unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert!(engine.running.history().is_none());
    engine.stop().await;
    server.stop().await;
}
