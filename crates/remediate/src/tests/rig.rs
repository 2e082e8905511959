//! Executor with a real history and the real actions, on a bus and targets that the test controls.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::decision_run::DecisionRun;
use crate::proposal::proposed;
use crate::{
    Dispatcher, Executor, ExecutorConfig, InFlight, KillSwitch, OffRecord, OpenIncidents, Silences,
    deferred, life, scale_back,
};
use anomalyzer_bus::fake::FakeBus;
use anomalyzer_collect::NoPrometheus;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{
    Coverage, Decision, DecisionId, DecisionState, DeclaredEffect, Grant, Incident, IncidentEvent,
    MetricBatch, Solution, Topic, testing,
};
use anomalyzer_egress::http::{HttpConfig, HttpSender};
use anomalyzer_egress::notify::{Notifier, NotifyConfig};
use anomalyzer_history::{FILE_NAME, History, HistoryOptions};
use anomalyzer_operator::Operator;
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use anomalyzer_policy::Policy;
use anomalyzer_verification::{RecentSamples, VerifyConfig};

pub use super::fixture::{
    cleared, coverage, event, foreign_id, incident, interrupted, proposal, recorded_as, request,
    scale, walk, web,
};
pub use super::world::World;

/// Time after which a test gives up waiting.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the grants of the shipped actions, and of `my-hook`, whose request has no effect.
fn grants() -> Vec<Grant> {
    let mut grants = anomalyzer_policy::grants::shipped();
    grants.push(Grant {
        effect: Some(DeclaredEffect::None),
        ..Grant::everywhere("my-hook", "http")
    });
    grants
}

/// Loads the shipped actions, compiled once for all tests.
fn plugins() -> Plugins {
    static PLUGINS: OnceLock<Plugins> = OnceLock::new();
    let load = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
        let cache = Some(folder.with_file_name("compiled"));
        Plugins::load(PluginConfig {
            folder,
            cache,
            ..PluginConfig::default()
        })
        .unwrap()
    };
    PLUGINS.get_or_init(load).clone()
}

pub struct Rig {
    pub executor: Arc<Executor>,
    pub bus: FakeBus,
    pub world: Arc<World>,
    pub folder: TempDir,
    heard_at: AtomicI64,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Builds an executor whose operations succeed at once and whose verification does not wait,
    /// unless `change` sets it up differently.
    pub async fn with(change: impl FnOnce(&mut Executor)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let history = History::open(&file, HistoryOptions::default(), &Metrics::default())
            .await
            .unwrap();
        let bus = FakeBus::default();
        let world = Arc::new(World::new());
        let clock: anomalyzer_domain::Clock = Arc::new(now_ms);
        let http = HttpConfig {
            allow: vec!["127.0.0.1:*".into()],
            ..HttpConfig::default()
        };
        let notifier = Arc::new(Notifier::new(NotifyConfig::default()).unwrap());
        let mut executor = Executor {
            off_record: OffRecord::new(Arc::clone(&notifier), Arc::clone(&clock)),
            config: ExecutorConfig::default(),
            verify: VerifyConfig {
                settle: Duration::ZERO,
                observe: Duration::ZERO,
                min_samples: 1,
                ..VerifyConfig::default()
            },
            timing: BTreeMap::new(),
            policy: Policy::default(),
            grants: grants(),
            rate_limits: HashMap::new(),
            plugins: plugins(),
            dispatcher: Dispatcher {
                operators: vec![Arc::clone(&world) as Arc<dyn Operator>],
                notifier,
                http: Arc::new(HttpSender::new(&http).unwrap()),
                metrics: Arc::new(NoPrometheus),
                queries: HashMap::new(),
                clock: Arc::clone(&clock),
            },
            history,
            bus: Arc::new(bus.clone()),
            recent: RecentSamples::default(),
            incidents: OpenIncidents::default(),
            monotonic: Arc::clone(&clock),
            clock,
            kill_switch: KillSwitch::in_folder(folder.path()),
            silences: Silences::open(folder.path()).unwrap(),
            in_flight: InFlight::default(),
        };
        change(&mut executor);
        Self {
            executor: Arc::new(executor),
            bus,
            world,
            folder,
            heard_at: AtomicI64::new(0),
        }
    }

    pub fn run(&self) -> DecisionRun {
        DecisionRun {
            executor: Arc::clone(&self.executor),
            stop: CancellationToken::new(),
            permits: Arc::new(Semaphore::new(self.executor.config.concurrency.max(1))),
        }
    }

    /// Makes the incident known, with a fresh sample of each of its signals.
    pub fn know(&self, incident: &Incident) {
        self.executor.incidents.take(&event(incident));
        for finding in &incident.findings {
            self.hear(&finding.signal, 50.0, coverage(1, 1));
        }
    }

    /// Puts the event on record in the history.
    pub async fn record(&self, event: &IncidentEvent) {
        let recorded = self.executor.history.record_incident(event).await;
        recorded.unwrap();
    }

    /// Performs the solution, and returns the decision before its verification.
    pub async fn act(&self, solution: &Solution) -> Decision {
        let mut decision = self.decision(solution);
        self.advance(&mut decision).await;
        assert_eq!(
            decision.state(),
            DecisionState::Verifying,
            "{:?}",
            decision.summary
        );
        decision
    }

    /// Takes in a sample of a signal of the target, newer than every earlier one.
    pub fn hear(&self, signal: &str, value: f64, coverage: Coverage) {
        let at = now_ms().max(self.heard_at.load(Ordering::Relaxed) + 1);
        self.heard_at.store(at, Ordering::Relaxed);
        self.executor.recent.take(&MetricBatch {
            coverage,
            ..testing::batch(signal, at, value)
        });
    }

    pub fn decision(&self, solution: &Solution) -> Decision {
        let incident = solution
            .incident
            .as_ref()
            .and_then(|id| self.executor.incidents.get(id));
        proposed(solution, incident.as_ref())
    }

    /// Advances a new decision to its end, or until it is held.
    pub async fn drive(&self, solution: &Solution) -> Decision {
        let mut decision = self.decision(solution);
        while !decision.state().needs_no_work() {
            self.advance(&mut decision).await;
        }
        decision
    }

    /// Takes the decision one state further.
    pub async fn advance(&self, decision: &mut Decision) {
        let _ = life::advance(&self.run(), decision).await.unwrap();
    }

    pub async fn scale_back_once(&self) -> Vec<DecisionId> {
        scale_back::scale_back_once(&self.run()).await.unwrap()
    }

    pub async fn retry_deferred_once(&self) {
        deferred::retry_deferred_once(&self.run()).await.unwrap();
    }

    /// Starts the executor. It runs until the result is ended or dropped.
    pub fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&self.executor).run("test", stop.clone()));
        Running { task, stop }
    }

    pub fn offer(&self, solution: &Solution) -> i64 {
        self.bus.offer(
            Topic::Solutions,
            anomalyzer_wire::solutions::encode(solution),
        )
    }

    /// Waits until the decision on record satisfies `far`.
    pub async fn when(&self, id: &DecisionId, far: impl Fn(&Decision) -> bool) -> Decision {
        let found = async {
            loop {
                if let Some(decision) = self
                    .executor
                    .history
                    .decision(id)
                    .await
                    .unwrap()
                    .filter(&far)
                {
                    return decision;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, found).await.unwrap()
    }

    pub async fn ended(&self, id: &DecisionId) -> Decision {
        self.when(id, |decision| decision.state().needs_no_work())
            .await
    }

    /// Returns the attempts at which the analyst was asked again.
    pub fn asked_again(&self) -> Vec<u32> {
        let events = self.bus.published(Topic::Incidents);
        events
            .iter()
            .map(|record| {
                serde_json::from_slice::<IncidentEvent>(&record.payload)
                    .unwrap()
                    .attempt
            })
            .collect()
    }
}

pub struct Running {
    pub task: tokio::task::JoinHandle<Result<(), anomalyzer_bus::BusError>>,
    pub stop: CancellationToken,
}

impl Running {
    /// Stops the executor and waits for its end.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(TEST_TIMEOUT, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
