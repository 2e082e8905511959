//! Brings a group to its desired state. Starts missing replicas, stops surplus ones, and replaces
//! obsolete ones one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::group::{Group, ReplicaStatus};
use super::replica::{self, Start};
use super::state::Wanted;

/// Handle of a replica's task. Dropping it stops the replica.
struct Running {
    revision: u64,
    stop: CancellationToken,
    /// Token that is cancelled when the task is over.
    gone: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Supervisor of one group.
pub struct Supervisor {
    /// The supervised group.
    pub group: Arc<Group>,
    /// Mark by which a later host recognises our processes.
    pub mark: String,
    /// HTTP client of the readiness probes.
    pub client: reqwest::Client,
}

impl Supervisor {
    /// Supervises the group until `shutdown`. No process is left when this returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut wanted = self.group.wanted.subscribe();
        let mut replicas = BTreeMap::new();
        loop {
            let goal = wanted.borrow_and_update().clone();
            tokio::select! {
                () = shutdown.cancelled() => break,
                // The goal changed: start again from the present replicas.
                changed = wanted.changed() => if changed.is_err() { break },
                () = self.keep(&goal, &mut replicas) => {}
            }
        }
        let all: Vec<u32> = replicas.keys().copied().collect();
        self.stop(&mut replicas, &all).await;
    }

    /// Reaches the goal, then waits forever. Continues a halted rollout by itself when all its
    /// replicas are ready. Cancel-safe, because `replicas` holds the work in progress.
    async fn keep(&self, goal: &Wanted, replicas: &mut BTreeMap<u32, Running>) {
        self.group.set_halted(None);
        loop {
            if self.converge(goal, replicas).await {
                self.group.settle(goal.revision);
                return std::future::pending().await;
            }
            self.group.set_halted(Some(goal.revision));
            let mut status = self.group.replicas.subscribe();
            let present = |all: &BTreeMap<u32, ReplicaStatus>| {
                all.values()
                    .filter(|replica| replica.revision == goal.revision)
                    .all(|replica| replica.ready)
            };
            if status.wait_for(present).await.is_err() {
                return;
            }
            self.group.set_halted(None);
        }
    }

    /// Moves the replicas towards the goal. Returns true if they reached it, or false if a new
    /// replica does not become ready.
    async fn converge(&self, goal: &Wanted, replicas: &mut BTreeMap<u32, Running>) -> bool {
        let leaving: Vec<u32> = replicas
            .iter()
            .filter(|(index, running)| **index >= goal.replicas || running.stop.is_cancelled())
            .map(|(index, _)| *index)
            .collect();
        self.stop(replicas, &leaving).await;
        for index in 0..goal.replicas {
            if !replicas.contains_key(&index) {
                self.start(goal, index, replicas);
            }
        }
        if self.group.is_settled(goal.revision) {
            return true;
        }
        for index in 0..goal.replicas {
            if replicas
                .get(&index)
                .is_some_and(|running| running.revision != goal.revision)
            {
                self.stop(replicas, &[index]).await;
                self.start(goal, index, replicas);
            }
            let limit = self.group.config.start_timeout;
            if !self.serves(index, limit).await {
                self.group.event(&format!(
                    "the rollout halts: {} does not serve after {limit:?}",
                    self.group.replica_name(index)
                ));
                return false;
            }
        }
        true
    }

    fn start(&self, goal: &Wanted, index: u32, replicas: &mut BTreeMap<u32, Running>) {
        let status = ReplicaStatus {
            revision: goal.revision,
            phase: "Pending",
            ready: false,
            restarts: 0,
            reason: None,
        };
        self.group.change_replicas(|all| {
            all.insert(index, status);
        });
        let start = Start {
            index,
            environment: self.group.environment(goal),
            mark: self.mark.clone(),
            client: self.client.clone(),
        };
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let over = gone.clone().drop_guard();
        let replica = replica::run(Arc::clone(&self.group), start, stop.clone());
        tokio::spawn(async move {
            let _over = over;
            replica.await;
        });
        replicas.insert(
            index,
            Running {
                revision: goal.revision,
                stop,
                gone,
            },
        );
    }

    /// Stops the replicas `which` concurrently and waits until they are gone.
    async fn stop(&self, replicas: &mut BTreeMap<u32, Running>, which: &[u32]) {
        for index in which {
            if let Some(running) = replicas.get(index) {
                running.stop.cancel();
            }
        }
        let leaving = replicas.iter().filter(|(index, _)| which.contains(index));
        join_all(leaving.map(|(_, running)| running.gone.cancelled())).await;
        replicas.retain(|index, _| !which.contains(index));
        self.group
            .change_replicas(|all| all.retain(|index, _| !which.contains(index)));
    }

    async fn serves(&self, index: u32, limit: Duration) -> bool {
        let mut status = self.group.replicas.subscribe();
        let ready = status.wait_for(|all| all.get(&index).is_some_and(|replica| replica.ready));
        matches!(timeout(limit, ready).await, Ok(Ok(_)))
    }
}
