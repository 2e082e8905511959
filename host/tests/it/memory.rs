//! Tests that the state of detectors outlives the engine: it is saved while the engine runs and
//! restored when the next engine starts.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anomalyzer_bus::{Bus, Subscription};
use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
use anomalyzer_detect::{
    DetectStatus, Engine, EngineError, IncidentConfig, IncidentCorrelator, IncidentLog, StateStore,
    StateStoreConfig, state_store,
};
use anomalyzer_domain::testing;
use anomalyzer_domain::{DetectorConfig, Finding, IncidentEventKind, Labels, Phase, Topic, UnixMs};
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wait::until;
use anomalyzer_test_support::guest::{self, Stateful};

const START: UnixMs = 1_769_860_800_000;
const MINUTE: Duration = Duration::from_secs(60);

fn zscore() -> DetectorConfig {
    let settings = json!({"spike": 5, "drop": 5, "clear_samples": 2});
    DetectorConfig {
        name: "zscore".into(),
        settings: settings.as_object().unwrap().clone(),
    }
}

fn moody(settings: &serde_json::Value) -> DetectorConfig {
    DetectorConfig {
        name: "moody".into(),
        settings: settings.as_object().unwrap().clone(),
    }
}

/// Returns a host with the `zscore` that `cargo xtask plugins` built.
fn built() -> Plugins {
    only(
        &std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/plugins/zscore.wasm"
        ))
        .unwrap(),
    )
}

/// Returns a host with one plugin.
fn only(bytes: &[u8]) -> Plugins {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guest.wasm"), bytes).unwrap();
    Plugins::load(PluginConfig {
        folder: folder.path().to_owned(),
        ..PluginConfig::default()
    })
    .unwrap()
}

/// Builds a detector that reports with each sample the number of frames that it has seen and the
/// version from which it was restored.
fn counting(version: &str, observe: &str, state: Stateful<'_>) -> Vec<u8> {
    guest::Detector {
        version,
        observe,
        state: Some(state),
        pages: 64,
        ..guest::Detector::default()
    }
    .build()
}

/// A bus, a state store, and the engines that use them one after the other.
pub(crate) struct Rig {
    folder: TempDir,
    bus: Arc<dyn Bus>,
    known: IncidentLog,
    incidents: Box<dyn Subscription>,
    findings: Vec<Finding>,
    sent: i64,
}

pub(crate) struct Running {
    status: Arc<Mutex<BTreeMap<String, DetectStatus>>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), EngineError>>,
    seen: u64,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = LocalBus::open(&folder.path().join("bus.sqlite"), LocalBusConfig::default())
            .await
            .unwrap();
        let bus: Arc<dyn Bus> = Arc::new(bus);
        let incidents = bus.subscribe(Topic::Incidents, "test").await.unwrap();
        Self {
            folder,
            bus,
            known: IncidentLog::default(),
            incidents,
            findings: Vec::new(),
            sent: 0,
        }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(state_store::FILE_NAME)
    }

    async fn start(&self, plugins: Plugins, detector: DetectorConfig) -> Running {
        self.start_with(plugins, vec![detector]).await
    }

    /// Starts this version of the detector that counts its frames.
    async fn start_counting(&self, version: &str) -> Running {
        let counting = counting(version, "", Stateful::default());
        self.start(only(&counting), moody(&json!({}))).await
    }

    pub(crate) async fn start_with(
        &self,
        plugins: Plugins,
        detectors: Vec<DetectorConfig>,
    ) -> Running {
        let config = StateStoreConfig {
            save_every: Duration::ZERO,
            ..StateStoreConfig::default()
        };
        let memory = StateStore::open(&self.file(), config).await.unwrap();
        let config = IncidentConfig {
            confirm_after: Duration::ZERO,
            quiet_for: Duration::from_secs(1),
            ..IncidentConfig::default()
        };
        let mut book = IncidentCorrelator::new(config, self.known.clone());
        book.adopt_all();
        let status = Arc::default();
        let bus = Arc::clone(&self.bus);
        let engine = Engine::new(bus, plugins, vec![], detectors, book, MINUTE)
            .with_state_store(memory)
            .with_status(Arc::clone(&status));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(engine.run("detect", shutdown.clone()));
        Running {
            status,
            shutdown,
            task,
            seen: 0,
        }
    }

    /// Sends values, one per second. Each value is sent after the engine has seen the previous
    /// value, so that each value becomes a frame.
    pub(crate) async fn feed(&mut self, running: &mut Running, values: &[f64]) {
        for value in values {
            let at = START + self.sent * 1000;
            let labels = Labels::new([("__name__", "latency"), ("pod", "a")]);
            let mut batch = testing::batch("latency", at, *value);
            batch.series[0].labels = labels;
            self.bus
                .publish(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
                .await
                .unwrap();
            self.sent += 1;
            running.seen += 1;
            let seen = running.seen;
            running
                .until("the sample is seen", |status| status.samples >= seen)
                .await;
        }
    }

    /// Waits for `many` findings and returns all findings received, in order.
    async fn findings(&mut self, many: usize) -> &[Finding] {
        let Self {
            incidents,
            findings,
            ..
        } = self;
        until("the findings come", MINUTE, async || {
            for delivery in incidents
                .next(100, Duration::from_millis(20))
                .await
                .unwrap()
            {
                let event = anomalyzer_wire::incidents::decode(&delivery).unwrap();
                if matches!(
                    event.kind,
                    IncidentEventKind::Opened | IncidentEventKind::Changed
                ) {
                    findings.extend(event.incident.findings);
                }
                incidents.commit(&delivery).await.unwrap();
            }
            (findings.len() >= many).then_some(())
        })
        .await;
        findings
    }
}

impl Running {
    async fn until(&self, what: &str, holds: impl Fn(&DetectStatus) -> bool) -> DetectStatus {
        until(what, MINUTE, async || {
            self.status
                .lock()
                .get("latency")
                .filter(|status| holds(status))
                .cloned()
        })
        .await
    }

    pub(crate) fn status(&self) -> DetectStatus {
        self.status.lock().get("latency").cloned().unwrap()
    }

    /// Stops the engine as at the end of the process.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn ordinary(seconds: usize) -> Vec<f64> {
    (0..seconds)
        .map(|second| 100.0 + (second % 3) as f64)
        .collect()
}

/// Returns values with two outages. The first outage gets worse.
fn eventful() -> Vec<f64> {
    let outage = [300.0, 310.0, 305.0, 900.0, 890.0, 300.0];
    [
        ordinary(40),
        outage.to_vec(),
        ordinary(8),
        vec![10.0; 3],
        ordinary(5),
    ]
    .concat()
}

async fn found_with_restarts_before(restarts: &[usize]) -> Vec<Finding> {
    let values = eventful();
    let (plugins, mut rig) = (built(), Rig::new().await);
    let mut running = rig.start(plugins.clone(), zscore()).await;
    for (second, value) in values.iter().enumerate() {
        if restarts.contains(&second) {
            running.stop().await;
            running = rig.start(plugins.clone(), zscore()).await;
        }
        rig.feed(&mut running, &[*value]).await;
        if restarts.contains(&second) {
            assert_eq!(
                (running.status().restored, running.status().not_restored),
                (1, None)
            );
        }
    }
    running.stop().await;
    rig.findings(5).await.to_vec()
}

#[tokio::test]
async fn a_restart_in_the_middle_of_an_anomaly_changes_nothing_of_what_is_found() {
    let uninterrupted = found_with_restarts_before(&[]).await;
    let phases: Vec<Phase> = uninterrupted.iter().map(|finding| finding.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Onset,
            Phase::Ongoing,
            Phase::Clear,
            Phase::Onset,
            Phase::Clear
        ]
    );
    assert_eq!(
        uninterrupted[0].id, uninterrupted[2].id,
        "the clear belongs to its onset"
    );
    // Restart before the anomaly, right after its onset, in its middle, between its last sample and
    // its clear, and after it.
    assert_eq!(
        found_with_restarts_before(&[20, 41, 43, 47, 50]).await,
        uninterrupted
    );
}

#[tokio::test]
async fn an_anomaly_survives_a_crash_right_after_its_beginning() {
    let mut rig = Rig::new().await;
    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(40)).await;
    rig.feed(&mut running, &[300.0]).await;
    let onset = rig.findings(1).await[0].clone();
    // The engine saves before the commit, so the state is saved by the time that the next sample is
    // seen.
    rig.feed(&mut running, &[300.0]).await;
    running.task.abort();
    assert!(running.task.await.unwrap_err().is_cancelled());

    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(3)).await;
    let clear = rig.findings(2).await[1].clone();
    assert_eq!(
        (clear.phase, clear.id, clear.onset_at),
        (Phase::Clear, onset.id, onset.onset_at)
    );
    running.stop().await;
}

#[tokio::test]
async fn what_is_still_learnt_and_until_when_is_known_over_restarts() {
    let mut rig = Rig::new().await;
    let mut running = rig.start(built(), zscore()).await;
    let learning = |running: &Running| {
        let learning = running.status().learning;
        learning.first().map(|one| {
            (
                one.detector.clone(),
                one.series,
                one.least,
                one.min_samples,
                one.ready_at,
            )
        })
    };
    // By default `zscore` needs 20 samples, and one sample arrives per second.
    let ready_at = Some(START + 19_000);
    rig.feed(&mut running, &ordinary(7)).await;
    assert_eq!(
        learning(&running),
        Some(("zscore".into(), 1, 7, 20, ready_at))
    );
    running.stop().await;
    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(1)).await;
    assert_eq!(
        learning(&running),
        Some(("zscore".into(), 1, 8, 20, None)),
        "of one sample no pace is known"
    );
    rig.feed(&mut running, &ordinary(11)).await;
    assert_eq!(
        learning(&running),
        Some(("zscore".into(), 1, 19, 20, ready_at))
    );
    rig.feed(&mut running, &ordinary(1)).await;
    assert_eq!(learning(&running), None);
    running.stop().await;
    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(1)).await;
    assert_eq!(learning(&running), None);
    running.stop().await;
}

#[tokio::test]
async fn the_next_version_is_told_which_one_it_goes_on_from() {
    let mut rig = Rig::new().await;
    let mut running = rig.start_counting("0.1.0").await;
    rig.feed(&mut running, &[1.0, 1.0]).await;
    running.stop().await;
    let mut running = rig.start_counting("0.2.0").await;
    rig.feed(&mut running, &[1.0]).await;
    let last = rig.findings(3).await.last().unwrap().clone();
    assert_eq!((last.score, last.reason.as_str()), (3.0, "0.1.0"));
    running.stop().await;
}

#[tokio::test]
async fn what_is_refused_or_trips_the_detector_costs_the_memory_only_and_is_told() {
    for (restore, why) in [
        (guest::REFUSE, "no more patience"),
        ("(unreachable)", "trapped in `restore`"),
    ] {
        let mut rig = Rig::new().await;
        let mut running = rig.start_counting("0.1.0").await;
        rig.feed(&mut running, &[1.0, 1.0]).await;
        running.stop().await;
        let other = counting("0.2.0", "", Stateful { restore, save: "" });
        let mut running = rig.start(only(&other), moody(&json!({}))).await;
        rig.feed(&mut running, &[1.0]).await;
        let status = running.status();
        assert_eq!(status.restored, 0);
        let told = status.not_restored.unwrap();
        assert!(
            told.contains("moody: 1 of its series") && told.contains(why),
            "{told}"
        );
        // The series is announced to the detector, and the announcement is a frame.
        assert_eq!(rig.findings(3).await.last().unwrap().score, 2.0);
        running.stop().await;
    }
}

#[tokio::test]
async fn what_was_saved_by_another_detector_or_under_other_settings_is_not_handed_over() {
    let mut rig = Rig::new().await;
    let trips = |name| {
        let state = Some(Stateful {
            restore: "(unreachable)",
            save: "",
        });
        guest::Detector {
            name,
            state,
            ..guest::Detector::default()
        }
        .build()
    };
    let mut running = rig.start_counting("0.1.0").await;
    rig.feed(&mut running, &[1.0]).await;
    running.stop().await;

    let sulky = DetectorConfig {
        name: "sulky".into(),
        ..moody(&json!({}))
    };
    let mut running = rig.start(only(&trips("sulky")), sulky).await;
    rig.feed(&mut running, &[1.0]).await;
    assert_eq!(
        (running.status().restored, running.status().not_restored),
        (0, None)
    );
    running.stop().await;

    let mut running = rig
        .start(only(&trips("moody")), moody(&json!({"window": 3})))
        .await;
    rig.feed(&mut running, &[1.0]).await;
    let told = running.status().not_restored.unwrap();
    assert!(
        told.contains("1 of its series: it was saved under other settings"),
        "{told}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_detector_that_wants_too_much_saved_goes_on_and_is_not_saved() {
    let save = "(call $list (i32.const 6148) (i32.const 0) (i32.const 0x200000))";
    let mut rig = Rig::new().await;
    let greedy = counting("0.1.0", "", Stateful { save, restore: "" });
    let mut running = rig.start(only(&greedy), moody(&json!({}))).await;
    rig.feed(&mut running, &[1.0, 1.0, 1.0]).await;
    let told = running
        .until("it is told", |status| status.not_saved.is_some())
        .await
        .not_saved
        .unwrap();
    assert!(
        told.contains("moody: plugin `moody`") && told.contains("`save`"),
        "{told}"
    );
    assert_eq!(rig.findings(3).await.len(), 3, "every frame is looked at");
    running.stop().await;
}

#[tokio::test]
async fn after_a_trap_the_last_save_is_restored() {
    // The detector traps on the value 20, unless it was restored.
    let trap = "(if (i32.and (i32.eqz (global.get $told)) (i32.eq (local.get $mood) (i32.const 20))) (then (unreachable)))";
    let mut rig = Rig::new().await;
    let moody_one = counting("0.1.0", trap, Stateful::default());
    let mut running = rig.start(only(&moody_one), moody(&json!({}))).await;
    rig.feed(&mut running, &[1.0, 1.0, 20.0]).await;
    let last = rig.findings(3).await.last().unwrap().clone();
    assert_eq!((last.score, last.reason.as_str()), (3.0, "0.1.0"));
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_file_costs_the_memory_only() {
    let mut rig = Rig::new().await;
    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(30)).await;
    running.stop().await;
    spoil(&rig.file());
    let mut running = rig.start(built(), zscore()).await;
    rig.feed(&mut running, &ordinary(1)).await;
    assert_eq!(running.status().restored, 0);
    running.stop().await;
}

fn spoil(file: &Path) {
    std::fs::write(file, [0xaa; 8192]).unwrap();
}
