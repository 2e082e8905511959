//! One process group: its desired state, its actual state and its recent events.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use tokio::sync::watch;

use super::config::GroupConfig;
use super::environment;
use super::log::RunLogs;
use super::state::Wanted;
use crate::common::clock::now_ms;
use crate::domain::rfc3339;

/// Maximum number of events that are kept.
const EVENTS: usize = 20;

/// Endpoint of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the replica, such as `web-0`.
    pub replica: String,
    /// Address that the replica listens on.
    pub address: SocketAddr,
    /// True if the replica is ready.
    pub ready: bool,
}

/// Status of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Revision of the group that the replica runs.
    pub revision: u64,
    /// Phase: `Pending`, `Running` or `Terminating`.
    pub phase: &'static str,
    /// True if the replica is ready.
    pub ready: bool,
    /// Number of crashes.
    pub restarts: u32,
    /// Reason of the last end of its process.
    pub reason: Option<String>,
}

/// Progress of the replicas towards the desired revision.
#[derive(Debug, Default)]
struct Rollout {
    /// The last revision that all replicas reached.
    settled: Option<u64>,
    /// The revision whose rollout was halted at a replica that is not ready.
    halted: Option<u64>,
}

/// A process group.
#[derive(Debug)]
pub struct Group {
    /// Name of the group.
    pub name: String,
    /// Configuration of the group.
    pub config: GroupConfig,
    /// Desired state.
    pub wanted: watch::Sender<Wanted>,
    /// Status of the replicas by number.
    pub replicas: watch::Sender<BTreeMap<u32, ReplicaStatus>>,
    endpoints: watch::Sender<Vec<Endpoint>>,
    rollout: Mutex<Rollout>,
    logs: Mutex<BTreeMap<u32, RunLogs>>,
    events: Mutex<VecDeque<String>>,
}

/// Locks `mutex`. The guarded data is consistent between any two statements, so that a panic
/// elsewhere does not corrupt it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Group {
    /// Creates a group without replicas.
    pub fn new(name: &str, config: GroupConfig, wanted: Wanted) -> Self {
        Self {
            name: name.to_owned(),
            config,
            wanted: watch::Sender::new(wanted),
            replicas: watch::Sender::default(),
            endpoints: watch::Sender::default(),
            rollout: Mutex::default(),
            logs: Mutex::default(),
            events: Mutex::default(),
        }
    }

    /// Returns the name of replica `index`, such as `web-0`.
    pub fn replica_name(&self, index: u32) -> String {
        format!("{}-{index}", self.name)
    }

    /// Returns the address of replica `index`. The validated configuration guarantees that the port
    /// exists.
    pub fn address(&self, index: u32) -> SocketAddr {
        let port = u32::from(self.config.first_port).saturating_add(index);
        SocketAddr::new(self.config.host, u16::try_from(port).unwrap_or(u16::MAX))
    }

    /// Returns the environment of the replicas, without the variables that differ between them.
    pub fn environment(&self, wanted: &Wanted) -> BTreeMap<String, String> {
        environment::effective(&self.config.environment, &wanted.environment)
    }

    /// Returns the present endpoints and their future changes.
    pub fn endpoints(&self) -> watch::Receiver<Vec<Endpoint>> {
        self.endpoints.subscribe()
    }

    /// Changes a replica's status and notifies the watchers.
    pub fn set_status(&self, index: u32, change: impl FnOnce(&mut ReplicaStatus)) {
        self.change_replicas(|replicas| {
            if let Some(status) = replicas.get_mut(&index) {
                change(status);
            }
        });
    }

    /// Adds or removes replicas and notifies the watchers.
    pub fn change_replicas(&self, change: impl FnOnce(&mut BTreeMap<u32, ReplicaStatus>)) {
        self.replicas.send_modify(change);
        let endpoints: Vec<Endpoint> = self
            .replicas
            .borrow()
            .iter()
            .map(|(&index, status)| Endpoint {
                replica: self.replica_name(index),
                address: self.address(index),
                ready: status.ready,
            })
            .collect();
        self.endpoints.send_if_modified(|before| {
            let changed = *before != endpoints;
            *before = endpoints;
            changed
        });
    }

    /// Returns true if replicas are being replaced by those of another revision. A halted rollout
    /// is no rollout.
    pub fn rolling_out(&self) -> bool {
        let rollout = lock(&self.rollout);
        let wanted = Some(self.wanted.borrow().revision);
        rollout.settled != wanted && rollout.halted != wanted
    }

    /// Returns true if all replicas have reached this revision.
    pub fn is_settled(&self, revision: u64) -> bool {
        lock(&self.rollout).settled == Some(revision)
    }

    /// Records that all replicas have this revision.
    pub fn settle(&self, revision: u64) {
        *lock(&self.rollout) = Rollout {
            settled: Some(revision),
            halted: None,
        };
    }

    /// Records that the rollout of `revision` halts, or with `None` that it continues.
    pub fn set_halted(&self, revision: Option<u64>) {
        lock(&self.rollout).halted = revision;
    }

    /// Begins the log of a replica's new run.
    pub fn begin_log(&self, index: u32) {
        lock(&self.logs).entry(index).or_default().begin_run();
    }

    /// Adds a line to the log of a replica.
    pub fn log(&self, index: u32, line: String) {
        lock(&self.logs)
            .entry(index)
            .or_default()
            .push(line, self.config.log_lines);
    }

    /// Returns the last lines of each present replica. Each line starts with the name of the
    /// replica.
    pub fn last_lines(&self, lines: usize, previous: bool) -> Vec<String> {
        let logs = lock(&self.logs);
        let mut all = Vec::new();
        for index in self.replicas.borrow().keys() {
            let name = self.replica_name(*index);
            if let Some(log) = logs.get(index) {
                all.extend(
                    log.last(lines, previous)
                        .map(|line| format!("{name}: {line}")),
                );
            }
        }
        all
    }

    /// Records an event for the operator, and logs it.
    pub fn event(&self, text: &str) {
        tracing::info!(group = %self.name, "{text}");
        let mut events = lock(&self.events);
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(format!("{} {text}", rfc3339(now_ms())));
    }

    /// Returns the recorded events, newest last.
    pub fn events(&self) -> Vec<String> {
        lock(&self.events).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_is_that_of_its_revision_and_not_of_the_next() {
        let wanted = Wanted {
            revision: 1,
            ..Wanted::default()
        };
        let group = Group::new(
            "web",
            GroupConfig::new(vec!["web".into()], 8000),
            wanted.clone(),
        );
        assert!(group.rolling_out());
        group.set_halted(Some(1));
        assert!(!group.rolling_out());
        // The rollout of a rollback begins now, even if the supervisor has not seen it yet.
        group.wanted.send_replace(Wanted {
            revision: 2,
            ..wanted
        });
        assert!(group.rolling_out());
        group.settle(2);
        assert!(!group.rolling_out());
    }
}
