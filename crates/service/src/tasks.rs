//! The background tasks of a process: health, restart and shutdown in one place.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::Health;
use super::supervise::supervise;

/// Spawns background tasks, and waits for them at the shutdown. Clones share the tasks.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    health: Health,
    shutdown: CancellationToken,
}

impl Tasks {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self {
            tracker: TaskTracker::new(),
            health: Health::default(),
            shutdown,
        }
    }

    /// Returns the health of the tasks, where other parts set their health too.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns the token that ends the tasks.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Spawns a task that ends by itself at the shutdown.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Spawns `run` as the part `name` of `/health`, and runs it again whenever it ends before the
    /// shutdown; see [`supervise`]. Each run gets a clone of `state` and the token of the shutdown.
    pub(super) fn spawn_supervised<S, R, F, E>(&self, name: &'static str, state: &S, run: R)
    where
        S: Clone + Send + 'static,
        R: Fn(S, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let (state, shutdown) = (state.clone(), self.shutdown.clone());
        let start = move || run(state.clone(), shutdown.clone());
        let health = self.health.clone();
        self.spawn(supervise(name, health, self.shutdown.clone(), start));
    }

    /// Declares that no further tasks follow, so that [`Tasks::join`] can return.
    pub(super) fn close(&self) {
        self.tracker.close();
    }

    /// Waits until all tasks have ended. Tasks that take longer than `grace` are left to be cut off
    /// with the runtime.
    pub(super) async fn join(&self, grace: Duration) {
        let ended = tokio::time::timeout(grace, self.tracker.wait()).await;
        if ended.is_err() {
            tracing::warn!(
                tasks = self.tracker.len(),
                after = ?grace,
                "cutting off tasks that did not end in time"
            );
        }
    }
}
