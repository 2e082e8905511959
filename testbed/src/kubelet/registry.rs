//! The pods that this node runs.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::{Node, pod, status};

/// Intended state of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The pod runs.
    Run,
    /// The pod stops within `grace`. `tell` is true if the API server waits for the confirmation.
    Stop { grace: Duration, tell: bool },
}

/// A pod of this node, which its task, the log server and the discovery share.
#[derive(Debug)]
pub(super) struct Entry {
    pub address: Ipv4Addr,
    pub containers: Vec<Cell>,
    pub fate: watch::Sender<Fate>,
    /// Notified whenever a container's status changes.
    pub changed: Arc<Notify>,
    latest: Mutex<Arc<Pod>>,
}

/// Status of one container.
#[derive(Debug)]
pub(super) struct Cell {
    status: Mutex<ContainerStatus>,
    changed: Arc<Notify>,
}

impl Cell {
    pub(super) fn status(&self) -> ContainerStatus {
        locked(&self.status).clone()
    }

    /// Changes the status, and has it reported if it differs from before.
    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerStatus)) {
        let mut status = locked(&self.status);
        let before = status.clone();
        change(&mut status);
        if *status != before {
            self.changed.notify_one();
        }
    }
}

impl Entry {
    fn new(pod: Pod, address: Ipv4Addr, fate: Fate) -> Self {
        let changed = Arc::new(Notify::new());
        let containers = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .map(|container| {
                let status = Mutex::new(status::before_the_first_run(container));
                Cell {
                    status,
                    changed: Arc::clone(&changed),
                }
            });
        let containers = containers.collect();
        Self {
            address,
            containers,
            fate: watch::Sender::new(fate),
            changed,
            latest: Mutex::new(Arc::new(pod)),
        }
    }

    /// Returns the latest version of the pod from the API server.
    pub(super) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&locked(&self.latest))
    }

    /// Returns the statuses of all containers.
    pub(super) fn statuses(&self) -> Vec<ContainerStatus> {
        self.containers.iter().map(Cell::status).collect()
    }

    /// Stops the pod. A pod that stops already can only get less time.
    fn stop(&self, grace: Duration, tell: bool) {
        self.fate.send_if_modified(|fate| {
            let hurried = match *fate {
                Fate::Run => true,
                Fate::Stop { grace: before, .. } => grace < before,
            };
            if hurried {
                *fate = Fate::Stop { grace, tell };
            }
            hurried
        });
    }
}

/// All pods by their uid, and the tasks that run them.
pub(super) struct Registry {
    node: Arc<Node>,
    pods: Mutex<HashMap<String, Arc<Entry>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Registry {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            pods: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    pub(super) fn client(&self) -> kube::Client {
        self.node.client.clone()
    }

    /// Returns the log file of the run that a container's id names.
    pub(super) fn log_of(&self, container_id: &str) -> PathBuf {
        self.node.log_of(container_id)
    }

    /// Begins to run a new pod, or updates a known one.
    pub(super) fn see(self: &Arc<Self>, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        let deleted = pod.metadata.deletion_timestamp.is_some();
        // The last news about a pod may arrive after its end. It must not start the pod again.
        let fate = if deleted {
            Fate::Stop {
                grace: grace_of(&pod),
                tell: true,
            }
        } else {
            Fate::Run
        };
        let mut pods = locked(&self.pods);
        let entry = match pods.get(&uid) {
            Some(entry) => {
                *locked(&entry.latest) = Arc::new(pod);
                Arc::clone(entry)
            }
            None if !deleted && status::is_over(&pod) => return,
            None => {
                let Some(address) = self.node.addresses.take() else {
                    tracing::warn!("no free address for another pod");
                    return;
                };
                let entry = Arc::new(Entry::new(pod, address, fate));
                pods.insert(uid.clone(), Arc::clone(&entry));
                self.run(uid, Arc::clone(&entry));
                entry
            }
        };
        drop(pods);
        if let Fate::Stop { grace, tell } = fate {
            entry.stop(grace, tell);
        }
    }

    fn run(self: &Arc<Self>, uid: String, entry: Arc<Entry>) {
        let registry = Arc::clone(self);
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            pod::run(&registry.node, &uid, &entry).await;
            locked(&registry.pods).remove(&uid);
            registry.node.addresses.release(entry.address);
        });
    }

    /// Stops the pods that the API server no longer lists.
    pub(super) fn keep_only(&self, known: &[&str]) {
        for (uid, entry) in locked(&self.pods).iter() {
            if !known.contains(&uid.as_str()) {
                entry.stop(grace_of(&entry.pod()), false);
            }
        }
    }

    /// Stops a pod whose object is gone.
    pub(super) fn gone(&self, pod: &Pod) {
        let entry = pod
            .metadata
            .uid
            .as_ref()
            .and_then(|uid| locked(&self.pods).get(uid).cloned());
        if let Some(entry) = entry {
            entry.stop(grace_of(pod), false);
        }
    }

    /// Returns the pod with this name.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.all().into_iter().find(|entry| {
            let pod = entry.pod();
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
        })
    }

    /// Returns every pod.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        locked(&self.pods).values().cloned().collect()
    }

    /// Stops every pod without reporting it to the API server. Kills pods that take longer than
    /// `grace`.
    pub(super) async fn stop(&self, grace: Duration) {
        for entry in self.all() {
            entry.stop(grace, false);
        }
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        // Dropping the tasks kills the pods that are late.
        let _late = tokio::time::timeout(grace + Duration::from_secs(2), all).await;
    }

    /// Drops the tasks, and with them the processes.
    pub(super) fn abort(&self) {
        locked(&self.tasks).abort_all();
    }
}

/// Returns the time that the pod has to stop.
fn grace_of(pod: &Pod) -> Duration {
    let asked = pod.metadata.deletion_grace_period_seconds;
    let seconds = asked
        .or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds)
        .unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
