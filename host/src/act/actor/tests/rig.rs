//! An actor with a real history and the real actions, on a bus and a target that a test decides.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::act::actor::driver::Driver;
use crate::act::actor::proposal::proposed;
use crate::act::http::{HttpConfig, HttpSender};
use crate::act::notify::{Notifier, NotifyConfig};
use crate::act::{Actor, ActorConfig, Desk, Hands, KillSwitch, OpenIncidents, Silences, grants};
use crate::bus::fake::FakeBus;
use crate::codec;
use crate::collect::NoPrometheus;
use crate::common::clock::now_ms;
use crate::common::metrics::Metrics;
use crate::domain::{
    Analyst, AnalystKind, Coverage, Decision, DecisionId, Direction, Finding, FindingId, Incident,
    IncidentEvent, IncidentEventKind, IncidentId, Labels, LogRequest, Meaning, MetricBatch,
    Operation, OperationId, OperationRecord, Parameters, Phase, Provenance, Range, Replicas,
    Sample, Series, Snapshot, Solution, Target, Topic,
};
use crate::guard::Policy;
use crate::history::{FILE_NAME, History, HistoryOptions};
use crate::operator::{Operator, OperatorError, Performed};
use crate::plugin::{PluginConfig, Plugins};
use crate::verify::{Recent, VerifyConfig};

/// Nothing here takes longer on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn web() -> Target {
    Target::new("shop", "Deployment", "web")
}

/// An open incident of the target with a finding for each of these signals.
pub fn incident(signals: &[&str]) -> Incident {
    let now = now_ms();
    let finding = |signal: &&str| Finding {
        id: FindingId::derive(&[signal]),
        signal: (*signal).to_owned(),
        meaning: Meaning::Latency,
        labels: Labels::default(),
        detector: "zscore".into(),
        detector_digest: String::new(),
        onset_at: now - 10_000,
        at: now - 1_000,
        phase: Phase::Onset,
        direction: Direction::Above,
        score: 4.0,
        severity: 4.0,
        observed: Some(200.0),
        expected: Some(Range {
            low: Some(10.0),
            high: Some(100.0),
        }),
        reason: "high".into(),
    };
    Incident {
        id: IncidentId::derive(&["incident"]),
        target: web(),
        opened_at: now - 10_000,
        changed_at: now - 1_000,
        cleared_at: None,
        findings: signals.iter().map(finding).collect(),
        coverage: Coverage {
            asked: 1,
            answered: 1,
            failed: 0,
        },
        samples: vec![],
        foreign: false,
    }
}

pub fn event(incident: &Incident) -> IncidentEvent {
    let (kind, at) = (IncidentEventKind::Confirmed, incident.changed_at);
    IncidentEvent {
        kind,
        at,
        incident: incident.clone(),
        evidence: vec![],
        attempt: 0,
        witnesses: vec![],
    }
}

/// What our analyst proposes for that incident.
pub fn proposal(incident: &Incident, solution: &str, attempt: u32) -> Solution {
    let now = now_ms();
    Solution {
        anomaly_type: "latency_above".into(),
        solution_type: solution.into(),
        explanation: "because".into(),
        id: Solution::id_of(&incident.id, solution, attempt).to_string(),
        incident: Some(incident.id.clone()),
        target: Some(incident.target.clone()),
        parameters: Parameters::new(),
        confidence: 0.5,
        evidence: vec![],
        cites: vec![],
        alternatives: vec![],
        analyst: Analyst::of(AnalystKind::Rules),
        provenance: Provenance {
            source: Provenance::ENGINE.into(),
            by: "analyst".into(),
        },
        attempt,
        proposed_at: now,
        expires_at: now + 60_000,
        basis: None,
    }
}

/// What a person asks for by the API.
pub fn request(solution: &str) -> Solution {
    let id = DecisionId::derive(&["api", solution]).to_string();
    let provenance = Provenance {
        source: Provenance::API.into(),
        by: "alice".into(),
    };
    Solution {
        id,
        incident: None,
        provenance,
        ..proposal(&incident(&[]), solution, 0)
    }
}

/// An operation that a crash left without outcome.
pub fn interrupted(decision: &Decision, operation: Operation) -> OperationRecord {
    OperationRecord {
        id: OperationId::derive(&[decision.id.as_str(), &decision.operations.len().to_string()]),
        kind: operation.kind().to_owned(),
        target: operation.target().cloned(),
        operation,
        asked_at: now_ms(),
        done_at: None,
        guard: None,
        outcome: None,
        before: None,
        after: None,
        version: None,
        undoes: None,
    }
}

/// The world: targets with two replicas and a mark.
pub struct World {
    version: Mutex<String>,
    replicas: Mutex<u32>,
    rolling_out: AtomicBool,
    marks: Mutex<HashMap<Target, String>>,
    performed: Mutex<Vec<(OperationId, Operation)>>,
    /// One permit for each operation that may be answered.
    pub answers: Semaphore,
    /// How many operations have begun.
    pub begun: Semaphore,
}

impl World {
    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    pub fn performed(&self) -> Vec<Operation> {
        Self::lock(&self.performed)
            .iter()
            .map(|(_, operation)| operation.clone())
            .collect()
    }

    pub fn replicas(&self) -> u32 {
        *Self::lock(&self.replicas)
    }

    /// Someone changes every target.
    pub fn change(&self, version: &str) {
        version.clone_into(&mut Self::lock(&self.version));
    }

    /// Someone's rollout begins or ends.
    pub fn roll_out(&self, begins: bool) {
        self.rolling_out.store(begins, Ordering::Relaxed);
    }

    pub fn mark(&self, target: &Target, id: &OperationId) {
        Self::lock(&self.marks).insert(target.clone(), id.to_string());
    }
}

#[async_trait]
impl Operator for World {
    fn name(&self) -> &'static str {
        "world"
    }

    fn handles(&self, _: &Target) -> bool {
        true
    }

    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError> {
        Ok(Snapshot {
            target: target.clone(),
            at: now_ms(),
            version: Self::lock(&self.version).clone(),
            replicas: Some(Replicas {
                desired: self.replicas(),
                ready: self.replicas(),
            }),
            rolling_out: self.rolling_out.load(Ordering::Relaxed),
            autoscaler: None,
            managed_by: vec![],
            last_operation: Self::lock(&self.marks).get(target).cloned(),
            pods: vec![],
            events: vec![],
            raw: Value::Null,
        })
    }

    async fn read_logs(&self, _: &LogRequest) -> Result<Vec<String>, OperatorError> {
        Ok(vec![])
    }

    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        _: &Snapshot,
    ) -> Result<Performed, OperatorError> {
        Self::lock(&self.performed).push((id.clone(), operation.clone()));
        self.begun.add_permits(1);
        if let Ok(answer) = self.answers.acquire().await {
            answer.forget();
        }
        if let Some(target) = operation.target() {
            self.mark(target, id);
        }
        let before = self.replicas();
        if let Operation::Scale { replicas, .. } = operation {
            *Self::lock(&self.replicas) = *replicas;
            Self::lock(&self.version).push('+');
        }
        let shown = |replicas: u32| Some(json!({"replicas": replicas}));
        let (before, after) = (shown(before), shown(self.replicas()));
        Ok(Performed {
            result: json!("done"),
            before,
            after,
            version: Some(Self::lock(&self.version).clone()),
        })
    }

    async fn check(&self) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// The actions that come with the host, compiled once for all tests.
fn plugins() -> Plugins {
    static PLUGINS: OnceLock<Plugins> = OnceLock::new();
    let load = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
        let cache = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compiled"));
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
    pub actor: Arc<Actor>,
    pub bus: FakeBus,
    pub world: Arc<World>,
    pub folder: TempDir,
    heard_at: AtomicI64,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// All that is asked of a target works at once, and verification waits for nothing, unless a
    /// test says otherwise.
    pub async fn with(change: impl FnOnce(&mut Actor)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let history = History::open(&file, HistoryOptions::default(), &Metrics::default())
            .await
            .unwrap();
        let bus = FakeBus::default();
        let world = Arc::new(World {
            version: Mutex::new("1".into()),
            replicas: Mutex::new(2),
            rolling_out: AtomicBool::new(false),
            marks: Mutex::default(),
            performed: Mutex::default(),
            answers: Semaphore::new(1_000),
            begun: Semaphore::new(0),
        });
        let clock: crate::domain::Clock = Arc::new(now_ms);
        let http = HttpConfig {
            allow: vec!["127.0.0.1:*".into()],
            ..HttpConfig::default()
        };
        let mut actor = Actor {
            config: ActorConfig::default(),
            verify: VerifyConfig {
                settle: Duration::ZERO,
                observe: Duration::ZERO,
                min_samples: 1,
                ..VerifyConfig::default()
            },
            policy: Policy::default(),
            grants: grants::shipped(),
            rate_limits: HashMap::new(),
            plugins: plugins(),
            hands: Hands {
                operators: vec![Arc::clone(&world) as Arc<dyn Operator>],
                notifier: Arc::new(Notifier::new(NotifyConfig::default()).unwrap()),
                http: Arc::new(HttpSender::new(&http).unwrap()),
                metrics: Arc::new(NoPrometheus),
                queries: HashMap::new(),
                clock: Arc::clone(&clock),
            },
            history,
            bus: Arc::new(bus.clone()),
            recent: Recent::default(),
            incidents: OpenIncidents::default(),
            steady: Arc::clone(&clock),
            clock,
            kill_switch: KillSwitch::in_folder(folder.path()),
            silences: Silences::open(folder.path()).unwrap(),
            desk: Desk::default(),
        };
        change(&mut actor);
        Self {
            actor: Arc::new(actor),
            bus,
            world,
            folder,
            heard_at: AtomicI64::new(0),
        }
    }

    pub fn driver(&self) -> Driver {
        Driver {
            actor: Arc::clone(&self.actor),
            stop: CancellationToken::new(),
        }
    }

    /// Makes the incident known, with a fresh sample of each of its signals.
    pub fn know(&self, incident: &Incident) {
        self.actor.incidents.take(&event(incident));
        for finding in &incident.findings {
            self.hear(
                &finding.signal,
                50.0,
                Coverage {
                    asked: 1,
                    answered: 1,
                    failed: 0,
                },
            );
        }
    }

    /// A sample of a signal of the target, taken now: later than the one before.
    pub fn hear(&self, signal: &str, value: f64, coverage: Coverage) {
        let at = now_ms().max(self.heard_at.load(Ordering::Relaxed) + 1);
        self.heard_at.store(at, Ordering::Relaxed);
        self.actor.recent.take(&MetricBatch {
            signal: signal.into(),
            target: Some(web()),
            observed_at: at,
            coverage,
            series: vec![Series {
                labels: Labels::default(),
                samples: vec![Sample { at, value }],
            }],
            foreign: false,
        });
    }

    pub fn decision(&self, solution: &Solution) -> Decision {
        let incident = solution
            .incident
            .as_ref()
            .and_then(|id| self.actor.incidents.get(id));
        proposed(solution, incident.as_ref())
    }

    /// Drives it to its end, verification included.
    pub async fn drive(&self, solution: &Solution) -> Decision {
        let mut decision = self.decision(solution);
        let driver = self.driver();
        driver.meet(&mut decision).await.unwrap();
        driver.drive(&mut decision).await.unwrap();
        if !decision.state.is_final() {
            driver.verify(&mut decision).await.unwrap();
        }
        decision
    }

    /// The loop, until what is returned is cancelled or dropped.
    pub fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&self.actor).run("test", stop.clone()));
        Running { task, stop }
    }

    pub fn offer(&self, solution: &Solution) -> i64 {
        self.bus
            .offer(Topic::Solutions, codec::solutions::encode(solution))
    }

    /// The decision of that id, when it has come that far.
    pub async fn when(&self, id: &DecisionId, far: impl Fn(&Decision) -> bool) -> Decision {
        let found = async {
            loop {
                if let Some(decision) = self.actor.history.decision(id).await.unwrap().filter(&far)
                {
                    return decision;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    pub async fn ended(&self, id: &DecisionId) -> Decision {
        self.when(id, |decision| decision.state.is_final()).await
    }

    /// The attempts at which the analyst was asked again.
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

/// The id of what someone else wrote at that offset.
pub fn foreign_id(offset: i64) -> DecisionId {
    DecisionId::derive(&["ai-solutions-topic", "0", &offset.to_string()])
}

pub struct Running {
    pub task: tokio::task::JoinHandle<Result<(), crate::bus::BusError>>,
    pub stop: CancellationToken,
}

impl Running {
    /// Tells it to stop, and waits until it did.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
