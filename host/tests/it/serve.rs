//! Tests of `serve` as a whole: they publish samples on the topic and read the results from the
//! history.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anomalyzer::cli::api_client::ServerArgs;
use anomalyzer::cli::status::StatusArgs;
use anomalyzer::cli::{Output, status};
use anomalyzer_bus::{Bus, BusError};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_domain::testing::{coverage, empty_batch, web_process};
use anomalyzer_domain::{
    Decision, DecisionState, Labels, MetricBatch, Operation, OutcomeKind, Record, Sample, Series,
    Target, Topic, VerificationOutcome, solutions,
};
use anomalyzer_history::{FILE_NAME, Filter, HistoryOptions, Page};
use anomalyzer_service::config::Config;
use anomalyzer_service::{Service, config};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::wait::until;

pub const MINUTE: Duration = Duration::from_secs(60);

/// Returns the configuration of these tests: a process group `web` of one replica, and two signals
/// whose samples the test sends.
pub fn configured(folder: &Path, more: &str) -> Config {
    let signal = |name: &str| {
        format!(
            "[[signal]]\nname = '{name}'\nmeaning = '{name}'\nunit = ''\ntarget = {{ kind = 'Process', name = 'web' }}\n\
             source = {{ gauge = {{ of = 'nothing' }} }}\n\
             detectors = [{{ name = 'zscore', settings = {{ spike = 8.0, drop = 1000.0, clear_samples = 2 }} }}]\n"
        )
    };
    let text = format!(
        "data_dir = '{}'\nsilent_after = '1h'\n[api]\nlisten = '127.0.0.1:0'\nengine_listen = '127.0.0.1:0'\n\
         [plugins]\nfolder = '{}'\n\
         [collect]\ninterval = '1h'\n[[collect.scrape]]\njob = 'none'\ntargets = {{ group = 'web' }}\n\
         [verify]\nsettle = '100ms'\nobserve = '1s'\n\
         [local.groups.web]\ncommand = ['sleep', '600']\nfirst_port = 9\nstop_timeout = '1s'\n\
         [notify.channels.log]\ntype = 'log'\n{more}\n{}{}",
        folder.display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        signal("traffic"),
        signal("latency"),
    );
    config::parse("test.toml".as_ref(), &text).unwrap()
}

/// Configuration under which incidents are confirmed at once and clear soon.
const AT_ONCE: &str = "[incidents]\nconfirm_after = '0s'\nquiet_for = '500ms'\n";

/// Publishes one sample of each signal. `traffic` and `latency` are multiples of the usual values.
pub async fn show(bus: &dyn Bus, at: i64, traffic: f64, latency: f64) {
    for (signal, value) in [("traffic", 40.0 * traffic), ("latency", 0.1 * latency)] {
        let value = value * (0.95 + 0.1 * fastrand::f64());
        let record = anomalyzer_wire::metrics::encode(&batch(signal, vec![Sample { at, value }]));
        bus.publish(Topic::Metrics, record).await.unwrap();
    }
}

/// Publishes half a minute of ordinary samples, up to now. Returns when `engine` has seen them.
pub async fn show_ordinary(bus: &dyn Bus, engine: &Service) {
    let now = now_ms();
    for second in (1..=30).rev() {
        show(bus, now - second * 1000, 1.0, 1.0).await;
    }
    let seen = || {
        engine
            .detection()
            .values()
            .map(|signal| signal.samples)
            .sum::<u64>()
    };
    until("the samples are seen", MINUTE, async || {
        (seen() >= 60).then_some(())
    })
    .await;
}

/// All parts in one process. They stop when dropped.
struct Whole {
    running: Service,
    shutdown: CancellationToken,
    folder: TempDir,
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Whole {
    async fn start(more: &str) -> Self {
        Self::start_with(more, HistoryOptions::default()).await
    }

    async fn start_with(more: &str, history: HistoryOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            history,
            ..configured(folder.path(), &format!("{AT_ONCE}{more}"))
        };
        let shutdown = CancellationToken::new();
        let running = start(config, &shutdown).await;
        Self {
            running,
            shutdown,
            folder,
        }
    }

    async fn publish(&self, record: Record) -> Result<(), BusError> {
        self.running.bus().publish(Topic::Metrics, record).await
    }

    async fn show(&self, at: i64, traffic: f64, latency: f64) {
        show(self.running.bus().as_ref(), at, traffic, latency).await;
    }

    async fn ordinary(&self) {
        show_ordinary(self.running.bus().as_ref(), &self.running).await;
    }

    /// Returns the status code of `/health` and its body.
    async fn health(&self) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}/health", self.running.address()))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn ended(&self, solution: &str) -> Decision {
        ended(&self.running, solution, MINUTE).await
    }

    /// Checks that nobody altered the history.
    async fn verify_chain(&self) {
        let history = self.running.history().unwrap();
        history.verify_chain().await.unwrap();
    }
}

/// Starts a service that runs until `shutdown`.
pub async fn start(config: Config, shutdown: &CancellationToken) -> Service {
    let started = Service::builder(config).start(shutdown.clone()).await;
    started.unwrap().unwrap()
}

/// Returns the number of replicas of the process group `web`.
pub fn replicas(server: &Service) -> usize {
    let local = server.local().unwrap();
    local.endpoints("web").unwrap().borrow().len()
}

/// Waits until the decision on `solution` is over, and returns the decision.
pub async fn ended(server: &Service, solution: &str, within: Duration) -> Decision {
    let filter = Filter {
        solution: Some(solution.to_owned()),
        ..Filter::default()
    };
    until(&format!("{solution} ends"), within, async || {
        let (decisions, _) = server
            .history()
            .unwrap()
            .decisions(&filter, Page::default())
            .await
            .unwrap();
        decisions
            .into_iter()
            .find(|decision| decision.state().needs_no_work())
    })
    .await
}

/// Simulates a world in which more replicas help at once: sends ordinary samples forever as soon as
/// a scale operation is under way.
pub async fn heal(server: &Service) -> Infallible {
    until("a scale is under way", 3 * MINUTE, async || {
        let decisions = server
            .history()
            .unwrap()
            .decisions(&Filter::default(), Page::default())
            .await;
        let scaled = |decision: &Decision| decision.state() == DecisionState::Verifying;
        decisions.unwrap().0.iter().any(scaled).then_some(())
    })
    .await;
    loop {
        show(server.bus().as_ref(), now_ms(), 1.0, 1.0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn batch(signal: &str, samples: Vec<Sample>) -> MetricBatch {
    MetricBatch {
        target: Some(web_process()),
        observed_at: samples.last().map_or(0, |sample| sample.at),
        coverage: coverage(1, 1),
        series: vec![Series {
            labels: Labels::new([("__name__", signal)]),
            samples,
        }],
        ..empty_batch(signal)
    }
}

#[tokio::test]
async fn a_surge_on_the_topic_leads_to_a_scale_that_is_verified_and_on_record() {
    let whole = Whole::start("").await;
    whole.ordinary().await;
    whole.show(now_ms(), 6.0, 6.0).await;
    let decision = tokio::select! {
        decision = whole.ended(solutions::SCALE_UP) => decision,
        never = heal(&whole.running) => match never {},
    };
    assert_eq!(decision.state(), DecisionState::Done);
    let verification = decision.verification.unwrap();
    assert_eq!(
        verification.outcome,
        VerificationOutcome::Improved,
        "{}",
        verification.reason
    );
    let [scale] = decision
        .operations
        .iter()
        .filter(|record| !record.operation.is_read())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", decision.operations)
    };
    assert!(matches!(
        scale.operation,
        Operation::Scale { replicas: 2, .. }
    ));
    assert_eq!(scale.outcome.as_ref().unwrap().kind, OutcomeKind::Done);
    assert_eq!(replicas(&whole.running), 2);
    whole.verify_chain().await;
}

#[tokio::test]
async fn a_dry_run_decides_and_records_and_does_nothing() {
    let whole = Whole::start("[guard]\nmode = 'shadow'").await;
    whole.ordinary().await;
    whole.show(now_ms(), 6.0, 6.0).await;
    let decision = whole.ended(solutions::SCALE_UP).await;
    assert_eq!(decision.state(), DecisionState::Shadowed);
    assert_eq!(decision.guard.unwrap().rule, "mode");
    let verification = decision.verification.unwrap();
    assert!(
        verification.reason.starts_with("it was left alone: "),
        "{}",
        verification.reason
    );
    assert_eq!(replicas(&whole.running), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_and_what_follows_is_seen() {
    let whole = Whole::start("").await;
    whole.ordinary().await;
    let garbage = Record {
        key: None,
        headers: vec![],
        payload: b"{\"name\": \"cpu\", \"va".as_slice().into(),
    };
    whole.publish(garbage).await.unwrap();
    let mut cut = anomalyzer_wire::metrics::encode(&batch(
        "latency",
        vec![Sample {
            at: now_ms(),
            value: 0.1,
        }],
    ));
    cut.payload.truncate(cut.payload.len() - 3);
    whole.publish(cut).await.unwrap();
    // This record is too large to be read. The bus refuses it on publishing, so it is not lost
    // silently.
    let huge = Record {
        key: None,
        headers: vec![],
        payload: vec![b' '; 64 << 20].into(),
    };
    assert!(matches!(
        whole.publish(huge).await,
        Err(BusError::TooLarge { .. })
    ));
    // This record is large but is accepted, although nobody can decode it.
    let large = Record {
        key: None,
        headers: vec![],
        payload: vec![b'['; 10_000_000].into(),
    };
    whole.publish(large).await.unwrap();
    until("three letters", MINUTE, async || {
        (whole.running.bus().health().dead_letters == 3).then_some(())
    })
    .await;
    whole.show(now_ms(), 6.0, 6.0).await;
    assert_eq!(
        whole.ended(solutions::SCALE_UP).await.target,
        Some(Target::new("", "Process", "web"))
    );
}

#[tokio::test]
async fn with_kafka_gone_health_says_so_and_what_comes_meanwhile_is_seen_when_it_is_back() {
    const NAME: &str = "with_kafka_gone_health_says_so";
    let Some(mut kafka) = anomalyzer_testbed::shared::own_kafka(NAME).await else {
        return;
    };
    let whole = Whole::start(&format!("[kafka]\nbrokers = '{}'", kafka.brokers())).await;
    whole.ordinary().await;
    kafka.kill();
    let problem = |name: &str| {
        whole
            .running
            .problems()
            .into_iter()
            .find(|problem| problem.starts_with(name))
    };
    let said = until("the bus is said to be broken", MINUTE, async || {
        problem("bus")
    })
    .await;
    assert!(said.contains(&kafka.brokers()), "{said}");
    // These samples are kept until the broker is back.
    whole.show(now_ms(), 6.0, 6.0).await;
    kafka.restart().await.unwrap();
    // The broker has to start, the clients have to connect again, and the groups have to form again
    // before a decision is made.
    let decision = ended(&whole.running, solutions::SCALE_UP, 3 * MINUTE).await;
    assert_ne!(
        decision.state(),
        DecisionState::Failed,
        "{:?}",
        decision.summary
    );
    // Ignore the collector, because there is nothing to scrape in these tests.
    let others = || {
        whole
            .running
            .problems()
            .into_iter()
            .filter(|problem| !problem.starts_with("collect"))
            .collect()
    };
    let left: Vec<String> = until("the bus is well again", 2 * MINUTE, async || {
        problem("bus").is_none().then(others)
    })
    .await;
    assert_eq!(left, [] as [String; 0]);
}

#[tokio::test]
async fn a_test_metric_is_followed_from_its_spike_to_its_decision_and_its_end() {
    let whole = Whole::start("").await;
    let base = format!("http://{}", whole.running.address());
    let client = http_client::client(MINUTE).unwrap();
    let sent = client
        .post(format!("{base}/send-test-metric"))
        .send()
        .await
        .unwrap();
    let sent: Value = sent.json().await.unwrap();
    let get = async |path: &str| {
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let decision = until("its decision ends", MINUTE, async || {
        let found = get(sent["follow"].as_str().unwrap()).await;
        found["decisions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|decision| decision["state"] == "done")
            .cloned()
    })
    .await;
    assert_eq!(decision["solution"], "alarm", "{decision}");
    assert_eq!(decision["anomaly"]["observed"], 1000.0, "{decision}");
    let path = format!(
        "/api/v1/incidents/{}",
        decision["incident"].as_str().unwrap()
    );
    until("its incident is over", MINUTE, async || {
        get(&path).await["cleared_at"].as_str().map(|_| ())
    })
    .await;
    assert_eq!(whole.running.open_incidents(), 0);

    // Two detectors watch signals that nobody configured. One of them has seen enough samples, and
    // the other one reports when it will have.
    let signals = get("/api/v1/signals").await;
    let metric = signals["signals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|signal| signal["name"] == "anomalyzer_test_metric");
    let learning = &metric.unwrap()["detect"]["learning"];
    assert_eq!(
        (&learning[0]["detector"], &learning[0]["min_samples"]),
        (&json!("novelty"), &json!(200)),
        "{learning}"
    );
    assert!(
        learning[0]["ready_at"].is_string() && learning[1].is_null(),
        "{learning}"
    );
    let server = ServerArgs {
        server: base,
        token_file: None,
    };
    let mut told = Vec::new();
    status::run(
        StatusArgs {
            server,
            output: Output::Text,
        },
        &mut told,
    )
    .await
    .unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(
        told.contains("novelty is learning 1 series, of which it has 6"),
        "{told}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = configured(folder.path(), "");
    config.api.listen = taken.local_addr().unwrap();
    let error = Service::builder(config)
        .start(CancellationToken::new())
        .await
        .map(drop)
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())),
        "{error}"
    );
    assert!(
        error.contains("choose another address in the configuration"),
        "{error}"
    );
}

#[tokio::test]
async fn with_the_disk_full_people_are_told_and_what_happened_is_on_record_once_there_is_room() {
    let people = Receiver::start([]).await;
    let channel = format!(
        "[notify.channels.people]\ntype = 'webhook'\nurl = '{}'\ndefault = true\n",
        people.url("/people")
    );
    let whole = Whole::start_with(
        &channel,
        HistoryOptions {
            max_pages: Some(200),
            ..HistoryOptions::default()
        },
    )
    .await;
    whole.ordinary().await;
    assert!(!whole.health().await.1.contains(FILE_NAME));
    // Fill the file up to its limit, as if something else had filled the disk.
    let file = format!("sqlite://{}", whole.folder.path().join(FILE_NAME).display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    sqlx::raw_sql("CREATE TABLE other (filled BLOB); INSERT INTO other VALUES (zeroblob(4000000))")
        .execute(&mut other)
        .await
        .unwrap();
    whole.show(now_ms(), 6.0, 6.0).await;
    let said = until("the disk is said to be full", MINUTE, async || {
        let (status, said) = whole.health().await;
        (status == 503 && said.contains(FILE_NAME)).then_some(said)
    })
    .await;
    assert!(said.contains("history.sqlite"), "{said}");
    until("people are told of what is not done", MINUTE, async || {
        let told = people.received();
        let of_solution = |title: &str| title.contains("of default//Process/web is not done");
        told.iter()
            .any(|notice| of_solution(&notice.json().to_string()))
            .then_some(())
    })
    .await;
    sqlx::raw_sql("DROP TABLE other")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    let well = async || (!whole.health().await.1.contains(FILE_NAME)).then_some(());
    until("the history is well again", MINUTE, well).await;
    let decision = ended(&whole.running, solutions::SCALE_UP, 2 * MINUTE).await;
    assert_eq!(decision.target, Some(Target::new("", "Process", "web")));
    whole.verify_chain().await;
}

#[tokio::test]
async fn a_folder_belongs_to_one_service_and_its_files_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;

    let whole = Whole::start("").await;
    let error = Service::builder(configured(whole.folder.path(), ""))
        .start(CancellationToken::new())
        .await
        .map(drop)
        .unwrap_err();
    let error = format!("{error:#}");
    let first = format!("process {}, since ", std::process::id());
    assert!(
        error.contains("another anomalyzer uses") && error.contains(&first),
        "{error}"
    );
    let mut folders = vec![whole.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let most = if kind.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode & !most, 0, "{} has {mode:o}", entry.path().display());
            folders.extend(kind.is_dir().then(|| entry.path()));
        }
    }
}

#[tokio::test]
async fn a_record_that_was_altered_is_told_and_nothing_is_changed_by_it() {
    let whole = Whole::start("[audit]\nverify_every = '1s'\n").await;
    whole.ordinary().await;
    whole.show(now_ms(), 6.0, 6.0).await;
    ended(&whole.running, solutions::SCALE_UP, 2 * MINUTE).await;
    let file = format!("sqlite://{}", whole.folder.path().join(FILE_NAME).display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    sqlx::raw_sql("DELETE FROM operations")
        .execute(&mut other)
        .await
        .unwrap();
    other.close().await.unwrap();
    until("the record is said to be altered", MINUTE, async || {
        let (status, said) = whole.health().await;
        (status == 503 && said.contains("the table operations differs")).then_some(())
    })
    .await;
    let http = reqwest::Client::new();
    let asked = http
        .post(format!(
            "http://{}/action/restart-service?wait=60s",
            whole.running.address()
        ))
        .json(&serde_json::json!({ "target": "default//Process/web" }))
        .send()
        .await
        .unwrap();
    let decision: Value = asked.json().await.unwrap();
    assert_eq!(decision["guard"]["rule"], "record", "{decision}");
}

#[tokio::test]
async fn without_a_signal_to_collect_it_is_well_and_waits_for_what_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "data_dir = '{}'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{}'\n",
        folder.path().display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
    );
    let config = config::parse("test.toml".as_ref(), &text).unwrap();
    let shutdown = CancellationToken::new();
    let running = start(config, &shutdown).await;
    let client = http_client::client(MINUTE).unwrap();
    let url = format!("http://{}/health", running.address());
    // Poll for long enough to notice a part that ends by itself.
    for _ in 0..20 {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shutdown.cancel();
    running.ended().await;
}

#[tokio::test]
async fn while_the_kill_switch_is_on_nothing_is_changed_and_people_are_told() {
    let whole = Whole::start("").await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/api/v1/kill-switch", whole.running.address());
    let refused = http
        .put(&url)
        .json(&serde_json::json!({ "why": " " }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 400);
    let on = http
        .put(&url)
        .json(&serde_json::json!({ "why": "a rehearsal" }))
        .send()
        .await
        .unwrap();
    assert_eq!(on.status(), 200);
    whole.ordinary().await;
    whole.show(now_ms(), 6.0, 6.0).await;
    let denied = ended(&whole.running, solutions::SCALE_UP, 2 * MINUTE).await;
    assert_eq!(
        (denied.state(), denied.operations.len()),
        (DecisionState::Denied, 0),
        "{denied:?}"
    );
    let guard = denied.guard.unwrap();
    assert!(
        guard.rule == "kill_switch"
            && guard
                .reason
                .contains("a rehearsal (by anonymous on loopback"),
        "{guard:?}"
    );
    let alarm = ended(&whole.running, solutions::ALARM, 2 * MINUTE).await;
    assert_eq!(alarm.state(), DecisionState::Done, "{alarm:?}");
    let said: Value = http
        .delete(&url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(said, serde_json::json!({ "on": false, "why": null }));
    // The record also says who switched the kill switch, and why.
    for (what, why) in [
        ("kill_switch_on", "a rehearsal"),
        ("kill_switch_off", "what was stopped may be changed again"),
    ] {
        let noted = ended(&whole.running, what, MINUTE).await;
        assert_eq!(
            (noted.explanation.as_str(), noted.provenance.by.as_str()),
            (why, "anonymous on loopback")
        );
    }
}

#[tokio::test]
async fn a_kill_switch_that_is_set_by_its_file_is_on_record_once() {
    let whole = Whole::start("").await;
    let file = whole
        .running
        .history()
        .unwrap()
        .path()
        .with_file_name("STOP");
    std::fs::write(&file, "the API is gone").unwrap();
    let on = ended(&whole.running, "kill_switch_on", MINUTE).await;
    assert_eq!(on.explanation, "the API is gone");
    assert!(
        on.provenance.by.contains("the file STOP"),
        "{}",
        on.provenance.by
    );
    std::fs::remove_file(&file).unwrap();
    ended(&whole.running, "kill_switch_off", MINUTE).await;
    let (all, _) = whole
        .running
        .history()
        .unwrap()
        .decisions(&Filter::default(), Page::default())
        .await
        .unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
}
