//! Tests of the operator `local` with real processes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anomalyzer_domain::testing::{self, web_process as target};
use anomalyzer_domain::{LogRequest, MergePatch, Operation, OperationId, Snapshot, Target, derive};
use anomalyzer_operator::{Operator, OperatorError};
use anomalyzer_operator_process::{GroupConfig, Local, LocalConfig, Readiness};
use anomalyzer_testbed::ports;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::wait::until;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn web(replicas: u32) -> GroupConfig {
    let mut group = GroupConfig::new(app::command(), ports::run(4).unwrap());
    group.replicas = replicas;
    group.max_replicas = 4;
    group.readiness = Some(Readiness {
        path: "/health".into(),
        timeout: Duration::from_secs(2),
        interval: Duration::from_millis(100),
        failures: 3,
    });
    group.restart_delay = Duration::from_millis(50);
    group.start_timeout = Duration::from_secs(10);
    group
}

/// A supervised group `web`.
struct Host {
    local: Arc<Local>,
    shutdown: CancellationToken,
    run: JoinHandle<()>,
    operations: u32,
}

impl Host {
    fn start(group: GroupConfig, data_dir: &Path) -> Self {
        let config = LocalConfig {
            groups: [("web".to_owned(), group)].into(),
        };
        let local = Arc::new(Local::open(config, data_dir).unwrap());
        let shutdown = CancellationToken::new();
        let run = tokio::spawn({
            let (local, shutdown) = (Arc::clone(&local), shutdown.clone());
            async move { local.run(shutdown).await }
        });
        Self {
            local,
            shutdown,
            run,
            operations: 0,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(TEST_TIMEOUT, self.run)
            .await
            .unwrap()
            .unwrap();
    }

    async fn inspect(&self) -> Snapshot {
        self.local.inspect(&target()).await.unwrap()
    }

    /// Waits until the group is at rest with `replicas` serving replicas.
    async fn at_rest(&self, replicas: u32) -> Snapshot {
        until("at rest", TEST_TIMEOUT, async || {
            let snapshot = self.inspect().await;
            let count = snapshot.replicas.unwrap();
            let there = count.ready == replicas
                && snapshot.pods.len() == replicas as usize
                && !snapshot.rolling_out;
            there.then_some(snapshot)
        })
        .await
    }

    async fn perform(&mut self, operation: Operation) -> anomalyzer_operator::Performed {
        let basis = self.inspect().await;
        self.operations += 1;
        let id = OperationId::from(format!("op-{}", self.operations));
        let performed = self.local.perform(&id, &operation, &basis).await.unwrap();
        let after = self.inspect().await;
        assert_eq!(after.last_operation.as_deref(), Some(id.as_str()));
        assert_ne!(after.version, basis.version);
        performed
    }

    async fn logs(&self, previous: bool) -> Vec<String> {
        self.local
            .read_logs(&LogRequest {
                target: target(),
                lines: 100,
                previous,
            })
            .await
            .unwrap()
    }

    async fn get(&self, replica: usize, path: &str) -> String {
        let address = self.local.endpoints("web").unwrap().borrow()[replica].address;
        let client = anomalyzer_common::http_client::client(TEST_TIMEOUT).unwrap();
        client
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    async fn pids(&self, replicas: usize) -> HashSet<String> {
        let mut pids = HashSet::new();
        for replica in 0..replicas {
            pids.insert(self.get(replica, "/pid").await);
        }
        pids
    }
}

fn scale(replicas: u32) -> Operation {
    testing::scale(target(), replicas)
}

fn patch(environment: &Value) -> Operation {
    Operation::Patch(MergePatch {
        target: target(),
        patch: json!({ "environment": environment }),
    })
}

fn alive(pid: &str) -> bool {
    // A zombie counts as dead: its command line is empty.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

#[tokio::test]
async fn replicas_serve_and_their_output_is_kept_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(web(2), dir.path());
    let snapshot = host.at_rest(2).await;
    assert_eq!(
        snapshot
            .pods
            .iter()
            .map(|pod| pod.name.as_str())
            .collect::<Vec<_>>(),
        ["web-0", "web-1"]
    );
    let endpoints = host.local.endpoints("web").unwrap().borrow().clone();
    assert!(endpoints.iter().all(|endpoint| endpoint.ready));
    let logs = host.logs(false).await;
    for (endpoint, name) in endpoints.iter().zip(["web-0", "web-1"]) {
        assert!(
            logs.contains(&format!("{name}: listening on {}", endpoint.address)),
            "{logs:?}"
        );
        assert!(
            logs.contains(&format!("{name}: errors go here")),
            "{logs:?}"
        );
    }
    host.local.check().await.unwrap();
    let unknown = host
        .local
        .inspect(&Target::new("", "Process", "other"))
        .await;
    assert!(matches!(unknown, Err(OperatorError::NotFound(_))));
    host.stop().await;
}

#[tokio::test]
async fn scaling_is_absolute_done_once_and_refused_on_a_state_that_is_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::start(web(1), dir.path());
    let before = host.at_rest(1).await;
    host.perform(scale(3)).await;
    host.at_rest(3).await;

    let again = host
        .local
        .perform(&OperationId::from("op-1"), &scale(3), &before)
        .await
        .unwrap();
    assert_eq!(again.result, json!({"already": "done"}));
    let late = host
        .local
        .perform(&OperationId::from("op-late"), &scale(2), &before)
        .await;
    assert!(matches!(late, Err(OperatorError::Conflict(_))), "{late:?}");
    let beyond = host
        .local
        .perform(&OperationId::from("op-5"), &scale(5), &host.inspect().await)
        .await;
    assert!(
        matches!(beyond, Err(OperatorError::Refused(_))),
        "{beyond:?}"
    );

    host.perform(scale(1)).await;
    assert_eq!(host.at_rest(1).await.pods[0].name, "web-0");
    host.stop().await;
}

#[tokio::test]
async fn a_crashed_replica_is_started_again_and_says_why_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(web(1), dir.path());
    host.at_rest(1).await;
    let pid = host.get(0, "/pid").await;
    let address = host.local.endpoints("web").unwrap().borrow()[0].address;
    let client = anomalyzer_common::http_client::client(TEST_TIMEOUT).unwrap();
    let cut_off = client.post(format!("http://{address}/crash")).send().await;
    assert!(cut_off.is_err());
    let snapshot = until("started again", TEST_TIMEOUT, async || {
        let snapshot = host.inspect().await;
        (snapshot.pods[0].restarts == 1 && snapshot.pods[0].ready).then_some(snapshot)
    })
    .await;
    assert_eq!(
        snapshot.pods[0].reason.as_deref(),
        Some("exited with code 3")
    );
    assert!(
        snapshot
            .events
            .iter()
            .any(|event| event.contains("web-0 exited with code 3")),
        "{:?}",
        snapshot.events
    );
    assert!(!snapshot.rolling_out);
    assert_ne!(host.get(0, "/pid").await, pid);
    assert!(
        host.logs(true)
            .await
            .iter()
            .any(|line| line.starts_with("web-0: listening"))
    );
    host.stop().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_reported_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = web(1);
    group.command = vec!["./no-such-program".into()];
    let host = Host::start(group, dir.path());
    let snapshot = until("tried twice", TEST_TIMEOUT, async || {
        let snapshot = host.inspect().await;
        snapshot
            .pods
            .first()
            .is_some_and(|pod| pod.restarts >= 2)
            .then_some(snapshot)
    })
    .await;
    assert!(
        snapshot.pods[0]
            .reason
            .as_deref()
            .unwrap()
            .contains("cannot start `./no-such-program`")
    );
    host.stop().await;
}

#[tokio::test]
async fn a_rolling_restart_replaces_all_replicas_and_takes_away_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::start(web(3), dir.path());
    host.at_rest(3).await;
    let before = host.pids(3).await;
    let mut endpoints = host.local.endpoints("web").unwrap();
    let fewest = tokio::spawn(async move {
        let mut fewest = usize::MAX;
        while endpoints.changed().await.is_ok() {
            let ready = endpoints
                .borrow_and_update()
                .iter()
                .filter(|endpoint| endpoint.ready)
                .count();
            fewest = fewest.min(ready);
            if ready == 0 {
                break;
            }
        }
        fewest
    });
    host.perform(Operation::Restart { target: target() }).await;
    assert!(host.inspect().await.rolling_out);
    host.at_rest(3).await;
    assert!(host.pids(3).await.is_disjoint(&before));
    assert!(!fewest.is_finished(), "at one time no replica served");
    fewest.abort();
    host.stop().await;
}

#[tokio::test]
async fn a_patch_reaches_the_processes_and_a_roll_back_takes_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::start(web(1), dir.path());
    host.at_rest(1).await;
    let performed = host.perform(patch(&json!({"RATE_LIMIT": 50}))).await;
    assert_eq!(
        performed.before,
        Some(json!({"environment": {"RATE_LIMIT": null}}))
    );
    host.at_rest(1).await;
    assert_eq!(host.get(0, "/variable/RATE_LIMIT").await, "50");
    host.perform(Operation::RollBack { target: target() }).await;
    host.at_rest(1).await;
    assert_eq!(host.get(0, "/variable/RATE_LIMIT").await, "");
    host.stop().await;
}

#[tokio::test]
async fn a_rollout_halts_at_a_replica_that_does_not_serve_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = web(2);
    group.start_timeout = Duration::from_secs(2);
    let mut host = Host::start(group, dir.path());
    host.at_rest(2).await;
    host.perform(patch(&json!({"BROKEN": "yes"}))).await;
    let halted = until("halted", TEST_TIMEOUT, async || {
        let snapshot = host.inspect().await;
        (!snapshot.rolling_out).then_some(snapshot)
    })
    .await;
    assert_eq!(
        halted.pods.iter().map(|pod| pod.ready).collect::<Vec<_>>(),
        [false, true]
    );
    assert!(
        halted
            .events
            .iter()
            .any(|event| event.contains("the rollout halts: web-0")),
        "{:?}",
        halted.events
    );
    host.perform(Operation::RollBack { target: target() }).await;
    host.at_rest(2).await;
    host.stop().await;
}

#[tokio::test]
async fn nothing_is_left_when_the_host_stops_not_even_deaf_processes_and_their_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut group = web(2);
    group.environment = [("DEAF", "yes"), ("GRANDCHILD", "987654")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    group.stop_timeout = Duration::from_millis(300);
    let host = Host::start(group, dir.path());
    host.at_rest(2).await;
    let pids = host.pids(2).await;
    let grandchildren = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| {
                std::fs::read(process.path().join("cmdline"))
                    .is_ok_and(|command| command == b"sleep\0987654\0")
            })
            .count()
    };
    assert_eq!(grandchildren(), 2);
    host.stop().await;
    assert!(pids.iter().all(|pid| !alive(pid)));
    until("grandchildren are gone", TEST_TIMEOUT, async || {
        (grandchildren() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_for_survives_a_restart_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let group = web(1);
    let mut host = Host::start(group.clone(), dir.path());
    host.at_rest(1).await;
    host.perform(scale(2)).await;
    host.perform(patch(&json!({"MODE": "calm"}))).await;
    let before = host.at_rest(2).await;
    host.stop().await;

    let host = Host::start(group, dir.path());
    let after = host.at_rest(2).await;
    assert_eq!(
        (after.version, after.last_operation),
        (before.version, before.last_operation)
    );
    assert_eq!(host.get(1, "/variable/MODE").await, "calm");
    host.stop().await;
}

#[tokio::test]
async fn processes_of_a_host_that_was_killed_are_killed_before_new_ones_start() {
    let dir = tempfile::tempdir().unwrap();
    let mark = derive(&[
        "local",
        &dir.path().canonicalize().unwrap().to_string_lossy(),
    ]);
    let mut orphan = std::process::Command::new("sleep")
        .arg("1000")
        .env("ANOMALYZER_LOCAL", mark)
        .spawn()
        .unwrap();
    let mut stranger = std::process::Command::new("sleep")
        .arg("1000")
        .env("ANOMALYZER_LOCAL", "else")
        .spawn()
        .unwrap();
    let host = Host::start(web(1), dir.path());
    host.at_rest(1).await;
    assert!(orphan.try_wait().unwrap().is_some());
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    host.stop().await;
}
