//! The operator `local`: supervises process groups on this machine.
//!
//! The group `web` is the target `default//Process/web`. A changed desired state is saved in
//! `local.json` in the data directory before it is applied, so that a restart of the host keeps it.

mod child;
mod config;
mod environment;
mod group;
mod leftovers;
mod log;
mod operations;
mod replica;
mod state;
mod supervisor;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

pub use self::config::{GroupConfig, LocalConfig, Readiness};
use self::group::Group;
pub use self::group::{Endpoint, ReplicaStatus};
pub use self::state::StateError;
use self::state::{Saved, StateFile, Wanted};
use self::supervisor::Supervisor;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_domain::{
    LogRequest, Operation, OperationId, PROCESS_KIND, PodSummary, Replicas, Snapshot, Target,
    derive,
};
use anomalyzer_operator::{Operator, OperatorError, Performed};

/// Maximum number of lines that are returned of one replica.
const MOST_LINES: u32 = 10_000;

/// Reason why the operator cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Invalid configuration.
    #[error("{0}")]
    Config(String),
    /// Unusable state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// No HTTP client for the readiness probes.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Guard that clears the flag when supervision ends, however it ends.
struct NotRunning<'a>(&'a AtomicBool);

impl Drop for NotRunning<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Operator that supervises process groups.
pub struct Local {
    groups: BTreeMap<String, Arc<Group>>,
    file: Arc<StateFile>,
    /// State on disk. The lock is held while an operation is performed, so that operations run one
    /// at a time.
    saved: Mutex<Saved>,
    client: reqwest::Client,
    mark: String,
    running: AtomicBool,
}

impl Local {
    /// Reads the last desired state of the groups and locks `data_dir`. Starts no process.
    pub fn open(config: LocalConfig, data_dir: &Path) -> Result<Self, LocalError> {
        config
            .validate()
            .map_err(|issue| LocalError::Config(issue.message))?;
        let (file, mut saved) = StateFile::open(data_dir)?;
        saved
            .groups
            .retain(|name, _| config.groups.contains_key(name));
        let mut groups = BTreeMap::new();
        for (name, group) in config.groups {
            let wanted = saved.groups.entry(name.clone()).or_insert_with(|| Wanted {
                replicas: group.replicas,
                ..Wanted::default()
            });
            wanted.replicas = wanted
                .replicas
                .clamp(group.min_replicas, group.max_replicas);
            groups.insert(
                name.clone(),
                Arc::new(Group::new(&name, group, wanted.clone())),
            );
        }
        let place = data_dir
            .canonicalize()
            .unwrap_or_else(|_| data_dir.to_owned());
        Ok(Self {
            groups,
            file: Arc::new(file),
            saved: Mutex::new(saved),
            client: http_client::client(Duration::from_secs(30))?,
            mark: derive(&["local", &place.to_string_lossy()]),
            running: AtomicBool::new(false),
        })
    }

    /// Supervises all groups until `shutdown`. No process is left when this returns. At the start,
    /// kills the processes that a killed earlier host left behind.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mark = self.mark.clone();
        match tokio::task::spawn_blocking(move || leftovers::kill(&mark)).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(
                count,
                "killed processes that an earlier run had left behind"
            ),
            Err(error) => tracing::error!(%error, "cannot look for processes of an earlier run"),
        }
        self.running.store(true, Ordering::Relaxed);
        let _not_running = NotRunning(&self.running);
        join_all(self.groups.values().map(|group| {
            let supervisor = Supervisor {
                group: Arc::clone(group),
                mark: self.mark.clone(),
                client: self.client.clone(),
            };
            supervisor.run(shutdown.clone())
        }))
        .await;
    }

    /// Returns the names of the groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Returns the endpoints of a group's replicas. The receiver gives the present ones (`borrow`)
    /// and waits for changes (`changed`). Returns `None` if there is no such group.
    pub fn endpoints(&self, group: &str) -> Option<watch::Receiver<Vec<Endpoint>>> {
        self.groups.get(group).map(|group| group.endpoints())
    }

    fn group(&self, target: &Target) -> Result<&Arc<Group>, OperatorError> {
        let ours =
            self.handles(target) && target.cluster == "default" && target.namespace.is_empty();
        self.groups
            .get(&target.name)
            .filter(|_| ours)
            .ok_or_else(|| OperatorError::NotFound(target.clone()))
    }
}

#[async_trait]
impl Operator for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn handles(&self, target: &Target) -> bool {
        target.kind == PROCESS_KIND
    }

    async fn inspect(&self, target: &Target) -> Result<Snapshot, OperatorError> {
        let group = self.group(target)?;
        let wanted = group.wanted.borrow().clone();
        let replicas = group.replicas.borrow().clone();
        let ready = replicas.values().filter(|status| status.ready).count();
        let pods = replicas
            .iter()
            .map(|(index, status)| PodSummary {
                name: group.replica_name(*index),
                phase: status.phase.to_owned(),
                ready: status.ready,
                restarts: status.restarts,
                reason: status.reason.clone(),
            })
            .collect();
        let config = &group.config;
        Ok(Snapshot {
            target: target.clone(),
            at: now_ms(),
            version: wanted.version(),
            replicas: Some(Replicas {
                desired: wanted.replicas,
                ready: u32::try_from(ready).unwrap_or(u32::MAX),
            }),
            rolling_out: group.rolling_out(),
            autoscaler: None,
            managed_by: Vec::new(),
            last_operation: wanted.last_operation.clone(),
            changed_by: None,
            pods,
            events: group.events(),
            // Values of configured variables may be secrets. Values of patched variables were
            // already published with the operation.
            raw: json!({
                "command": config.command,
                "directory": config.directory,
                "ports": {"first": config.first_port, "last": group.address(config.max_replicas.saturating_sub(1)).port()},
                "replicas": {"desired": wanted.replicas, "min": config.min_replicas, "max": config.max_replicas},
                "readiness": config.readiness.as_ref().map(|readiness| &readiness.path),
                "environment": {"configured": config.environment.keys().collect::<Vec<_>>(), "patched": wanted.environment},
                "revision": wanted.revision,
            }),
        })
    }

    async fn read_logs(&self, request: &LogRequest) -> Result<Vec<String>, OperatorError> {
        let lines = usize::try_from(request.lines.min(MOST_LINES)).unwrap_or(usize::MAX);
        Ok(self
            .group(&request.target)?
            .last_lines(lines, request.previous))
    }

    async fn perform(
        &self,
        id: &OperationId,
        operation: &Operation,
        basis: &Snapshot,
    ) -> Result<Performed, OperatorError> {
        let Some(target) = operation.target() else {
            return Err(OperatorError::Unsupported(format!(
                "a process group cannot do `{}`",
                operation.kind()
            )));
        };
        let group = self.group(target)?;
        let mut saved = self.saved.lock().await;
        let wanted = group.wanted.borrow().clone();
        if wanted.last_operation.as_deref() == Some(id.as_str()) {
            return Ok(Performed {
                result: json!({"already": "done"}),
                before: None,
                after: None,
                version: None,
            });
        }
        if basis.target != *target || basis.version != wanted.version() {
            return Err(OperatorError::Conflict(format!(
                "{target} changed since it was inspected: it is at version {}, inspected was version {} of {}",
                wanted.generation, basis.version, basis.target
            )));
        }
        let (next, performed) =
            operations::apply(&group.name, &group.config, &wanted, id, operation)?;
        let mut then = saved.clone();
        then.groups.insert(group.name.clone(), next.clone());
        let file = Arc::clone(&self.file);
        let writing = then.clone();
        tokio::task::spawn_blocking(move || file.save(&writing))
            .await
            .map_err(|error| {
                OperatorError::Unavailable(format!("cannot write the state: {error}"))
            })?
            .map_err(|error| OperatorError::Unavailable(error.to_string()))?;
        *saved = then;
        group.wanted.send_replace(next);
        Ok(performed)
    }

    async fn check(&self) -> Result<(), OperatorError> {
        if self.running.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(OperatorError::Unavailable(
                "the process groups are not supervised".to_owned(),
            ))
        }
    }
}
