//! Tests of `serve --role server` and `serve --role engine`, two separate halves joined by Kafka.

use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_domain::{Decision, DecisionId, DecisionState, VerificationOutcome, solutions};
use anomalyzer_history::{FILE_NAME, Filter, History, Page};
use anomalyzer_service::{Role, Service};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::serve::{MINUTE, configured, ended, heal, show, show_ordinary};
use crate::wait::until;

/// One half with a separate folder, as on a separate machine.
struct Half {
    running: Service,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Half {
    async fn start(role: Role, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let running = Service::builder(configured(folder.path(), more))
            .role(role)
            .start(shutdown.clone())
            .await
            .unwrap()
            .unwrap();
        Self {
            running,
            shutdown,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.ended().await;
    }

    fn history(&self) -> &History {
        self.running.history().unwrap()
    }

    async fn leads(&self) {
        until("it is the one that records", MINUTE, async || {
            (self.history().health().leads == Some(true)).then_some(())
        })
        .await;
    }

    async fn decision(
        &self,
        id: &DecisionId,
        what: &str,
        so: impl Fn(&Decision) -> bool,
    ) -> Decision {
        until(what, MINUTE, async || {
            self.history().decision(id).await.unwrap().filter(&so)
        })
        .await
    }

    /// Returns the number of events in the chain of decisions, and its last hash.
    async fn chain(&self) -> (i64, String) {
        let [decisions, ..] = self.history().audit(&[]).await.unwrap();
        assert_eq!(decisions.broken, None);
        (decisions.events, decisions.hash)
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let client = http_client::client(MINUTE).unwrap();
        let answer = client
            .post(format!("http://{}{path}", self.running.address()))
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

fn on_topics_of_their_own(brokers: &str) -> String {
    let unique = fastrand::u64(..);
    let topic = |name: &str| format!("{name} = 'roles-{unique}-{name}'");
    format!(
        "[kafka]\nbrokers = '{brokers}'\nsession_timeout = '6s'\ntopics = {{ {}, {}, {}, {} }}\n",
        topic("metrics"),
        topic("incidents"),
        topic("solutions"),
        topic("decisions"),
    )
}

#[tokio::test]
async fn a_server_that_stands_by_knows_all_that_was_recorded_and_goes_on_with_it_when_it_takes_over()
 {
    const NAME: &str = "a_server_that_stands_by_knows_all";
    let Some(kafka) = anomalyzer_testbed::shared::kafka(NAME) else {
        return;
    };
    let more = format!(
        "[guard]\nmode = 'approve'\n{}",
        on_topics_of_their_own(&kafka.brokers)
    );
    let first = Half::start(Role::Server, &more).await;
    first.leads().await;
    let second = Half::start(Role::Server, &more).await;

    let target = json!({ "target": { "kind": "Process", "name": "web" } });
    let (status, answer) = first.post("/action/scale-up", target.clone()).await;
    assert_eq!(status, 202, "{answer}");
    let id = DecisionId::from(answer["decision"].as_str().unwrap().to_owned());
    let asked = |decision: &Decision| {
        decision.state() == DecisionState::Held && decision.question.is_some()
    };
    let held = first.decision(&id, "a person is asked", asked).await;
    let seen = second
        .decision(&id, "the other server shows it", asked)
        .await;
    assert_eq!(seen, held);
    assert_eq!(second.chain().await, first.chain().await);
    assert_eq!(second.history().health().leads, Some(false));

    let (status, refused) = second.post("/action/scale-up", target).await;
    assert_eq!(status, 503, "{refused}");
    assert!(refused.to_string().contains("stands by"), "{refused}");

    let before = first.chain().await;
    first.stop().await;
    second.leads().await;
    assert_eq!(
        second.chain().await,
        before,
        "nothing was recorded meanwhile"
    );
    let yes = json!({ "question": held.question.as_ref().unwrap().id, "reason": "it is needed" });
    let path = format!("/api/v1/decisions/{}/approve", id.as_str());
    let (status, answer) = second.post(&path, yes).await;
    assert_eq!(status, 200, "{answer}");
    let over = second
        .decision(&id, "it is over", |decision| {
            decision.state().needs_no_work()
        })
        .await;
    assert_eq!(over.state(), DecisionState::Done, "{:?}", over.summary);
    assert_eq!(over.operations.len(), 1, "{:?}", over.operations);

    // A server without data reads all events from the log, under the same hashes.
    let third = Half::start(Role::Server, &more).await;
    assert_eq!(
        third
            .decision(&id, "a new one shows it too", |decision| decision
                .state()
                .needs_no_work())
            .await,
        over
    );
    assert_eq!(third.chain().await, second.chain().await);
    third.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_history_that_holds_something_else_than_the_log_does_not_take_over() {
    const NAME: &str = "a_history_that_holds_something_else";
    let Some(kafka) = anomalyzer_testbed::shared::kafka(NAME) else {
        return;
    };
    let more = on_topics_of_their_own(&kafka.brokers);
    let target = json!({ "target": { "kind": "Process", "name": "web" } });
    let ask = async |server: &Half| {
        server.leads().await;
        let (status, answer) = server.post("/action/alarm", target.clone()).await;
        assert_eq!(status, 202, "{answer}");
        let id = DecisionId::from(answer["decision"].as_str().unwrap().to_owned());
        server
            .decision(&id, "it is over", |decision| {
                decision.state().needs_no_work()
            })
            .await;
    };
    // Make one decision on a separate log, and one on this log.
    let other = Half::start(Role::Server, &on_topics_of_their_own(&kafka.brokers)).await;
    ask(&other).await;
    let this = Half::start(Role::Server, &more).await;
    ask(&this).await;
    let folder = tempfile::tempdir().unwrap();
    other
        .history()
        .back_up(&folder.path().join(FILE_NAME))
        .await
        .unwrap();
    other.stop().await;
    this.stop().await;

    let shutdown = CancellationToken::new();
    let running = Service::builder(configured(folder.path(), &more))
        .role(Role::Server)
        .start(shutdown.clone())
        .await
        .unwrap()
        .unwrap();
    let problem = || running.history().unwrap().health().problem;
    let said = until("it says so", MINUTE, async || problem()).await;
    assert!(
        said.contains("hold different events") && said.contains("move the file away"),
        "{said}"
    );
    assert_eq!(running.history().unwrap().health().leads, Some(false));
    // The rejected server does not keep another server from acting.
    let healthy = Half::start(Role::Server, &more).await;
    healthy.leads().await;
    healthy.stop().await;
    shutdown.cancel();
    running.ended().await;
}

#[tokio::test]
async fn an_engine_that_is_started_again_in_an_incident_goes_on_with_it() {
    const NAME: &str = "an_engine_that_is_started_again_in_an_incident_goes_on_with_it";
    let Some(kafka) = anomalyzer_testbed::shared::kafka(NAME) else {
        return;
    };
    let more = format!(
        "[incidents]\nconfirm_after = '5s'\nquiet_for = '1s'\nreaffirm_within = '15s'\n{}",
        on_topics_of_their_own(&kafka.brokers)
    );
    let server = Half::start(Role::Server, &more).await;
    let engine = Half::start(Role::Engine, &more).await;
    let (bus, history) = (server.running.bus(), server.running.history().unwrap());
    show_ordinary(bus.as_ref(), &engine.running).await;
    show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
    let open = until("an incident of both signals is open", MINUTE, async || {
        let (open, _) = history
            .incidents(Some(true), Page::default())
            .await
            .unwrap();
        open.into_iter()
            .find(|incident| incident.findings.len() == 2)
    })
    .await;
    engine.stop().await;
    // Samples that arrive meanwhile wait for the next engine.
    show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
    let engine = Half::start(Role::Engine, &more).await;
    let surge = async {
        loop {
            show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let (decisions, _) = history
                .decisions(&Filter::default(), Page::default())
                .await
                .unwrap();
            if !decisions.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(2 * MINUTE, surge).await.unwrap();

    let over = async {
        let decision = ended(&server.running, solutions::SCALE_UP, 2 * MINUTE).await;
        until("the incident is over", 2 * MINUTE, async || {
            (server.running.open_incidents() == 0).then_some(())
        })
        .await;
        decision
    };
    let decision = tokio::select! {
        decision = over => decision,
        never = heal(&server.running) => match never {},
    };
    assert_eq!(
        (decision.state(), decision.incident.as_ref()),
        (DecisionState::Done, Some(&open.id))
    );
    assert_eq!(
        decision.verification.unwrap().outcome,
        VerificationOutcome::Improved
    );
    let closed = async || {
        let (incidents, _) = history.incidents(None, Page::default()).await.unwrap();
        incidents
            .iter()
            .all(|incident| !incident.is_open())
            .then_some(incidents)
    };
    let incidents = until("the end of the incident is on record", MINUTE, closed).await;
    let told: Vec<_> = incidents
        .iter()
        .map(|incident| (&incident.id, incident.is_open()))
        .collect();
    assert_eq!(told, [(&open.id, false)], "neither forgotten nor doubled");
    let (decisions, _) = history
        .decisions(&Filter::default(), Page::default())
        .await
        .unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert!(engine.running.history().is_none());
    engine.stop().await;
    server.stop().await;
}
