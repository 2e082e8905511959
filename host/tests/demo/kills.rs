//! Tests that kill the process at every durable step of a decision and at random times, and start
//! it again. Afterwards every operation is on record, no operation was done twice, no operation was
//! lost, and no incident is forgotten.
//!
//! Operations are counted where they take effect: each one raises the generation of the process
//! group or of the Deployment.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anomalyzer_domain::{Decision, DecisionState, Operation, OutcomeKind};
use anomalyzer_history::{FILE_NAME, Filter, HistoryReader, Page};
use anomalyzer_testbed::shared;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::program::{Program, serve};

/// Numbers of rounds on the embedded services and, in `REAL`, on the real ones. Each round ends in
/// a kill. On the real services, taking over from a killed server takes the broker's time.
/// `ANOMALYZER_TEST_KILLS` sets the number of embedded rounds for a longer run.
const EMBEDDED: usize = 200;
const REAL: usize = 10;
/// Time after which the process is killed from outside if it has not reached the kill point.
const TEST_TIMEOUT: Duration = Duration::from_secs(6);
/// Time limit for finishing all started work after the last kill.
const SETTLED: Duration = Duration::from_secs(120);
/// Number of kills between two checks.
const LOOK_EVERY: usize = 25;
/// Time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Steps at which a decision can be cut short: before and after each record and each effect.
const STEPS: [&str; 13] = [
    "proposed",
    "guarded",
    "operation_asked",
    "scale",
    "restart",
    "notify",
    "operation_ended",
    "verifying",
    "verified",
    "ended",
    "incident_published",
    "solution_published",
    "undoing",
];

/// A service that is killed and started again on one data folder.
struct Victim {
    folder: TempDir,
    config: PathBuf,
    address: String,
    runtime: Runtime,
    http: reqwest::Client,
    /// Decisions that the answer to a request promised.
    promised: BTreeSet<String>,
    target: Value,
    /// Number of times the process reached the point at which it was to be killed.
    to_the_point: usize,
}

impl Victim {
    fn new(target: Value, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The port is free now, and nothing else asks for it during the test.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let config = folder.path().join("anomalyzer.toml");
        let text = format!(
            "data_dir = '{}'\n[api]\nlisten = '{address}'\nengine_listen = '127.0.0.1:0'\n[plugins]\nfolder = '{}'\n\
             [guard]\ncooldown = '0s'\n[verify]\nsettle = '0s'\nobserve = '0s'\nscale_back_after = '1h'\n\
             [incidents]\nconfirm_after = '0s'\nquiet_for = '0s'\nreaffirm_within = '2s'\n\
             [notify.channels.log]\ntype = 'log'\n{more}",
            folder.path().display(),
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        );
        std::fs::write(&config, text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let http = anomalyzer_common::http_client::client(Duration::from_secs(5)).unwrap();
        Self {
            folder,
            config,
            address,
            runtime,
            http,
            promised: BTreeSet::new(),
            target,
            to_the_point: 0,
        }
    }

    fn start(&self, crash_at: Option<&str>) -> Program {
        let mut command = serve(&self.config);
        if let Some(point) = crash_at {
            command.env("ANOMALYZER_TEST_CRASH_AT", point);
        }
        Program::start(&mut command)
    }

    fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let request = self
            .http
            .post(format!("http://{}{path}", self.address))
            .json(body);
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            if answer.status().is_success() {
                answer.json().await.ok()
            } else {
                None
            }
        })
    }

    fn is_up(&self) -> bool {
        let request = self
            .http
            .get(format!("http://{}/api/v1/decisions?limit=1", self.address));
        self.runtime.block_on(async {
            request
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        })
    }

    /// Starts the service, asks for an action, and waits until the service has died.
    fn round(&mut self, number: usize) {
        self.die(number, STEPS[number / 2 % STEPS.len()], 1);
    }

    /// Plays a round, see [`Self::round`], in which the process is killed when it reaches `step`
    /// for the `nth` time.
    fn die(&mut self, number: usize, step: &str, nth: u32) {
        let at_random = number % 5 == 4;
        let point = format!(
            "{}:{step}:{nth}",
            if number.is_multiple_of(2) {
                "before"
            } else {
                "after"
            }
        );
        let mut program = self.start((!at_random).then_some(point.as_str()));
        let began = Instant::now();
        while !program.has_ended() && !self.is_up() && began.elapsed() < TEST_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (mut request, mut last) = (None, None);
        if !program.has_ended() {
            let (path, body) = match (step, number % 4) {
                ("incident_published" | "solution_published" | "notify", _) => {
                    ("/send-test-metric".to_owned(), json!({ "samples": 30 }))
                }
                ("restart", _) | (_, 1) => (
                    "/action/restart-service".to_owned(),
                    json!({ "target": self.target }),
                ),
                (_, 0) => (
                    "/action/scale-up".to_owned(),
                    json!({ "target": self.target }),
                ),
                _ => (
                    "/action/scale-down".to_owned(),
                    json!({ "target": self.target }),
                ),
            };
            last = self.ask(&path, &body);
            request = Some((path, body));
        }
        let limit = if at_random {
            Duration::from_millis(fastrand::u64(0..400))
        } else {
            TEST_TIMEOUT
        };
        let asked = Instant::now();
        while !program.has_ended() && asked.elapsed() < limit {
            // The process group starts together with the host. Repeat a request that came before
            // the group was up.
            if let (Some((path, body)), Some(id)) = (&request, &last)
                && self.was_early(id)
            {
                last = self.ask(path, body);
            }
            // Nothing more will happen, so do not wait any longer.
            if asked.elapsed() > Duration::from_millis(700) && self.is_settled() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if program.has_ended() {
            self.to_the_point += 1;
        } else {
            program.signal(Signal::KILL);
        }
        while !program.has_ended() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn decisions(&self) -> Vec<Decision> {
        self.runtime.block_on(async {
            let history = HistoryReader::open(&self.folder.path().join(FILE_NAME))
                .await
                .unwrap();
            let mut all = Vec::new();
            let mut page = Page {
                limit: 200,
                ..Page::default()
            };
            loop {
                let (decisions, next) = history.decisions(&Filter::default(), page).await.unwrap();
                all.extend(decisions);
                let Some(next) = next else { return all };
                page.after = Some(next);
            }
        })
    }

    /// Asks for an action and remembers the decision that was promised.
    fn ask(&mut self, path: &str, body: &Value) -> Option<String> {
        let id = self.post(path, body)?["decision"].as_str()?.to_owned();
        self.promised.insert(id.clone());
        Some(id)
    }

    fn was_early(&self, id: &str) -> bool {
        self.runtime.block_on(async {
            let history = HistoryReader::open(&self.folder.path().join(FILE_NAME))
                .await
                .unwrap();
            let decision = history.decision(&id.into()).await.unwrap();
            decision
                .and_then(|decision| decision.guard)
                .is_some_and(|guard| guard.rule == "rollout_in_progress")
        })
    }

    fn is_settled(&self) -> bool {
        self.folder.path().join(FILE_NAME).exists()
            && self
                .decisions()
                .iter()
                .all(|one| one.state().needs_no_work())
    }

    /// Lets the service run until all started work is over, and checks the result. `done` returns
    /// the number of operations counted at the target.
    fn judge(&self, done: impl Fn() -> u64) {
        let program = self.start(None);
        let deadline = Instant::now() + SETTLED;
        let open = || {
            self.runtime.block_on(async {
                let history = HistoryReader::open(&self.folder.path().join(FILE_NAME))
                    .await
                    .unwrap();
                history.open_incidents().await.unwrap()
            })
        };
        let decisions = loop {
            // Read the incidents first, so that a decision made in between is seen.
            let open = open();
            let decisions = self.decisions();
            let decided = |id| {
                decisions
                    .iter()
                    .any(|decision| decision.incident.as_ref() == Some(id))
            };
            let forgotten: Vec<_> = open
                .iter()
                .map(|incident| &incident.id)
                .filter(|id| !decided(id))
                .collect();
            let unsettled: Vec<_> = decisions
                .iter()
                .filter(|one| !one.state().needs_no_work())
                .collect();
            if self.is_up() && forgotten.is_empty() && unsettled.is_empty() {
                break decisions;
            }
            let unsettled: Vec<_> = unsettled
                .iter()
                .map(|one| (&one.id, one.state(), &one.solution))
                .collect();
            assert!(
                Instant::now() < deadline,
                "not over within {SETTLED:?}: {unsettled:?}, undecided: {forgotten:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        for id in &self.promised {
            assert!(
                decisions.iter().any(|decision| decision.id.as_str() == id),
                "{id} was promised and is lost"
            );
        }
        let mut recorded = 0;
        let mut ids = BTreeSet::new();
        for decision in &decisions {
            assert_ne!(
                decision.state(),
                DecisionState::Held,
                "nothing was to be held: {decision:?}"
            );
            for record in &decision.operations {
                assert!(
                    ids.insert(record.id.clone()),
                    "{} is there twice",
                    record.id
                );
                let outcome = record
                    .outcome
                    .as_ref()
                    .unwrap_or_else(|| panic!("no outcome: {record:?}"));
                let changes = matches!(
                    record.operation,
                    Operation::Scale { .. } | Operation::Restart { .. }
                );
                recorded += u64::from(changes && outcome.kind == OutcomeKind::Done);
            }
        }
        assert_eq!(done(), recorded, "done at the target, and on record");
        self.runtime.block_on(async {
            let history = HistoryReader::open(&self.folder.path().join(FILE_NAME))
                .await
                .unwrap();
            let chains = history.audit(&[]).await.unwrap();
            assert!(
                chains.iter().all(|chain| chain.broken.is_none()),
                "{chains:?}"
            );
        });
        program.signal(Signal::TERM);
        drop(program);
    }

    fn generation_of_group(&self) -> u64 {
        generation(&self.folder.path().join("local.json"))
    }
}

fn generation(file: &Path) -> u64 {
    let state: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    state["groups"]["web"]["generation"].as_u64().unwrap()
}

fn many(default: usize) -> usize {
    std::env::var("ANOMALYZER_TEST_KILLS")
        .ok()
        .and_then(|many| many.parse().ok())
        .unwrap_or(default)
}

#[test]
fn however_often_it_is_killed_nothing_is_lost_and_nothing_is_done_twice() {
    let _stage = crate::stage();
    let group =
        "[local.groups.web]\ncommand = ['sleep', '600']\nfirst_port = 9\nstop_timeout = '1s'\n";
    let mut victim = Victim::new(json!({"kind": "Process", "name": "web"}), group);
    let mut last_line = Instant::now();
    for number in 0..many(EMBEDDED) {
        victim.round(number);
        if last_line.elapsed() >= PROGRESS_INTERVAL {
            println!("killed {} of {} times", number + 1, many(EMBEDDED));
            last_line = Instant::now();
        }
        if number % LOOK_EVERY == LOOK_EVERY - 1 {
            victim.judge(|| victim.generation_of_group());
        }
    }
    victim.judge(|| victim.generation_of_group());
    assert!(
        victim.promised.len() > many(EMBEDDED) / 4,
        "only {} requests were answered",
        victim.promised.len()
    );
    assert!(
        victim.to_the_point > many(EMBEDDED) / 2,
        "only {} came to the point",
        victim.to_the_point
    );
    assert!(
        victim.generation_of_group() > 10,
        "hardly anything was done"
    );
}

#[test]
fn nor_on_a_real_cluster_and_a_real_broker() {
    const NAME: &str = "nor_on_a_real_cluster_and_a_real_broker";
    let (Some(kafka), Some(kubernetes)) = (shared::kafka(NAME), shared::kubernetes(NAME)) else {
        return;
    };
    let _stage = crate::stage();
    let kubectl = |arguments: &[&str], input: &str| {
        let mut command = Command::new(&kubernetes.kubectl);
        command
            .env("KUBECONFIG", &kubernetes.kubeconfig)
            .args(arguments);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, input).unwrap();
        let output = command
            .stdin(std::fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let namespace = format!("kills-{}", std::process::id());
    let manifest = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 1,
                "containers": [{"name": "web", "image": "anomalyzer:dev", "command": ["sleep", "600"]}]}},
        }},
    ]});
    kubectl(&["apply", "--filename", "-"], &manifest.to_string());
    kubectl(
        &[
            "--namespace",
            &namespace,
            "rollout",
            "status",
            "deployment/web",
            "--timeout=60s",
        ],
        "",
    );
    let generation = || {
        let arguments = [
            "--namespace",
            &namespace,
            "get",
            "deployment",
            "web",
            "--output",
            "jsonpath={.metadata.generation}",
        ];
        kubectl(&arguments, "").parse::<u64>().unwrap()
    };
    let before = generation();
    let topic = |name: &str| format!("{name} = '{namespace}-{name}'");
    let more = format!(
        "[kafka]\nbrokers = '{}'\nsession_timeout = '2s'\ntopics = {{ {}, {}, {}, {} }}\n[kubernetes]\nkubeconfig = '{}'\n",
        kafka.brokers,
        topic("metrics"),
        topic("incidents"),
        topic("solutions"),
        topic("decisions"),
        kubernetes.kubeconfig.display(),
    );
    let target = json!({"namespace": namespace, "kind": "Deployment", "name": "web"});
    let mut victim = Victim::new(target, &more);
    // An operation is in doubt between these steps.
    for number in (4..).take(REAL) {
        victim.round(number);
    }
    // Kill before and after each record that is on the broker and not yet in the file.
    let before_these = victim.to_the_point;
    for (number, nth) in [(0, 1), (1, 1), (8, 3), (5, 3), (12, 4), (13, 4)] {
        victim.die(number, "log", nth);
    }
    assert!(
        victim.to_the_point >= before_these + 4,
        "hardly any came to the point"
    );
    victim.judge(|| generation() - before);
    kubectl(&["delete", "namespace", &namespace, "--wait=false"], "");
}
