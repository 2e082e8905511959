//! One process group: what it should be, what it is, and what happened to it.

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

/// Events that are kept.
const EVENTS: usize = 20;

/// Where a replica serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `web-0`.
    pub replica: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it serves.
    pub ready: bool,
}

/// How a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Of which revision of the group it is.
    pub revision: u64,
    /// `Pending`, `Running` or `Terminating`.
    pub phase: &'static str,
    /// Whether it serves.
    pub ready: bool,
    /// How often it crashed.
    pub restarts: u32,
    /// Why it last ended.
    pub reason: Option<String>,
}

/// How far the replicas are in becoming what they should be.
#[derive(Debug, Default)]
struct Rollout {
    /// The last revision that all replicas had.
    settled: Option<u64>,
    /// The revision that was stopped at a replica that does not serve.
    halted: Option<u64>,
}

/// One process group.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What is configured.
    pub config: GroupConfig,
    /// What it should be.
    pub wanted: watch::Sender<Wanted>,
    /// Its replicas by number.
    pub replicas: watch::Sender<BTreeMap<u32, ReplicaStatus>>,
    endpoints: watch::Sender<Vec<Endpoint>>,
    rollout: Mutex<Rollout>,
    logs: Mutex<BTreeMap<u32, RunLogs>>,
    events: Mutex<VecDeque<String>>,
}

/// What is behind these locks is whole between two statements, so that a panic elsewhere does not
/// spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Group {
    /// A group without replicas.
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

    /// `web-0`.
    pub fn replica_name(&self, index: u32) -> String {
        format!("{}-{index}", self.name)
    }

    /// Where replica `index` listens. The configuration was checked: the port exists.
    pub fn address(&self, index: u32) -> SocketAddr {
        let port = u32::from(self.config.first_port).saturating_add(index);
        SocketAddr::new(self.config.host, u16::try_from(port).unwrap_or(u16::MAX))
    }

    /// What its replicas get, but for what differs between them.
    pub fn environment(&self, wanted: &Wanted) -> BTreeMap<String, String> {
        environment::effective(&self.config.environment, &wanted.environment)
    }

    /// Where it can be reached, now and from now on.
    pub fn endpoints(&self) -> watch::Receiver<Vec<Endpoint>> {
        self.endpoints.subscribe()
    }

    /// Changes a replica's status and tells who watches.
    pub fn set_status(&self, index: u32, change: impl FnOnce(&mut ReplicaStatus)) {
        self.change_replicas(|replicas| {
            if let Some(status) = replicas.get_mut(&index) {
                change(status);
            }
        });
    }

    /// Adds or takes away replicas and tells who watches.
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

    /// Whether replicas are being replaced by those of another revision. A halted rollout is none.
    pub fn rolling_out(&self) -> bool {
        let rollout = lock(&self.rollout);
        let wanted = Some(self.wanted.borrow().revision);
        rollout.settled != wanted && rollout.halted != wanted
    }

    /// Whether all replicas had this revision once.
    pub fn is_settled(&self, revision: u64) -> bool {
        lock(&self.rollout).settled == Some(revision)
    }

    /// All replicas have this revision.
    pub fn settle(&self, revision: u64) {
        *lock(&self.rollout) = Rollout {
            settled: Some(revision),
            halted: None,
        };
    }

    /// The rollout of that revision halts; with none, it goes on.
    pub fn set_halted(&self, revision: Option<u64>) {
        lock(&self.rollout).halted = revision;
    }

    /// A replica's new run begins.
    pub fn begin_log(&self, index: u32) {
        lock(&self.logs).entry(index).or_default().begin_run();
    }

    /// A replica wrote a line.
    pub fn log(&self, index: u32, line: String) {
        lock(&self.logs)
            .entry(index)
            .or_default()
            .push(line, self.config.log_lines);
    }

    /// The last lines of each replica that is there, with its name in front.
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

    /// Something happened that a person would want to know.
    pub fn event(&self, text: &str) {
        tracing::info!(group = %self.name, "{text}");
        let mut events = lock(&self.events);
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(format!("{} {text}", rfc3339(now_ms())));
    }

    /// What happened, newest last.
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
        // Rolled back: that begins now, be it seen yet or not.
        group.wanted.send_replace(Wanted {
            revision: 2,
            ..wanted
        });
        assert!(group.rolling_out());
        group.settle(2);
        assert!(!group.rolling_out());
    }
}
