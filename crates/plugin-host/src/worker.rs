//! Queues the calls into instances. Each instance is called on one thread at a time, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::call::{Call, Instances, Job};
use super::error::PluginError;
use super::scheduler::{RunQueue, Shared};

/// Maximum time that a call waits for a place in the queue.
const QUEUE_WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Queue, the instances that are called through it, and the thread that works on both. When a call
/// takes long, another thread takes over. The thread ends when the last clone of the sender is
/// dropped.
pub(super) struct Worker {
    jobs: mpsc::Sender<Call>,
    shared: Arc<Shared>,
    leases: AtomicUsize,
    pub(super) counts: Arc<Counts>,
}

/// Counters of events, over all threads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) full: AtomicU64,
    next_lease: AtomicU64,
}

impl Worker {
    /// Starts a worker and its thread.
    pub(super) fn start(
        index: usize,
        queue: usize,
        counts: Arc<Counts>,
    ) -> Result<Self, PluginError> {
        let (jobs, queued) = mpsc::channel::<Call>(queue.max(1));
        let shared = Arc::new(Shared::new(index, jobs.downgrade()));
        RunQueue::new(queued, Arc::clone(&shared))
            .start()
            .map_err(|left| PluginError::Runtime(left.1.to_string()))?;
        Ok(Self {
            jobs,
            shared,
            leases: AtomicUsize::new(0),
            counts,
        })
    }

    /// Runs `call` on the thread, after all earlier calls. Waits at most [`QUEUE_WAIT_TIMEOUT`] for
    /// a place in the queue. An answer to a queued call always comes, because every call before it
    /// has a deadline. If the caller goes away before its turn, nothing is run.
    async fn ask<R: Send + 'static>(
        &self,
        lease: u64,
        plugin: &str,
        call: impl FnOnce(&mut Instances) -> Result<R, PluginError> + Send + 'static,
    ) -> Result<R, PluginError> {
        let closed = || PluginError::Closed(plugin.to_owned());
        let (reply, answer) = oneshot::channel();
        let counts = self.counts.clone();
        let job: Job = Box::new(move |instances| {
            if reply.is_closed() {
                return;
            }
            let Some(instances) = instances else {
                counts.full.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Err(PluginError::Overloaded {
                    waited: Duration::ZERO,
                }));
                return;
            };
            counts.calls.fetch_add(1, Ordering::Relaxed);
            let result = call(instances);
            if result.as_ref().is_err_and(PluginError::is_fault) {
                counts.faults.fetch_add(1, Ordering::Relaxed);
            }
            // The caller may be gone by now.
            let _ = reply.send(result);
        });
        match self.jobs.try_send(Call { lease, job }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            Err(mpsc::error::TrySendError::Full(call)) => {
                self.counts.full.fetch_add(1, Ordering::Relaxed);
                self.jobs
                    .send_timeout(call, QUEUE_WAIT_TIMEOUT)
                    .await
                    .map_err(|error| match error {
                        mpsc::error::SendTimeoutError::Timeout(_) => PluginError::Overloaded {
                            waited: QUEUE_WAIT_TIMEOUT,
                        },
                        mpsc::error::SendTimeoutError::Closed(_) => closed(),
                    })?;
            }
        }
        answer.await.map_err(|_| closed())?
    }

    /// Returns the number of waiting jobs.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }
}

/// Right to one instance on one thread. The instance is closed when the lease is dropped.
pub(super) struct Lease {
    worker: Arc<Worker>,
    id: u64,
}

impl Lease {
    /// Takes a lease on the thread with the fewest instances.
    pub(super) fn take(workers: &[Arc<Worker>]) -> Result<Self, PluginError> {
        let worker = workers
            .iter()
            .min_by_key(|worker| worker.leases.load(Ordering::Relaxed))
            .ok_or_else(|| PluginError::Runtime("no thread runs plugins".to_owned()))?
            .clone();
        worker.leases.fetch_add(1, Ordering::Relaxed);
        let id = worker.counts.next_lease.fetch_add(1, Ordering::Relaxed);
        Ok(Self { worker, id })
    }

    /// Runs `call` on the thread of the instance, with the id of the lease.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        plugin: &str,
        call: impl FnOnce(&mut Instances, u64) -> Result<R, PluginError> + Send + 'static,
    ) -> Result<R, PluginError> {
        let id = self.id;
        self.worker
            .ask(id, plugin, move |instances| call(instances, id))
            .await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.worker.leases.fetch_sub(1, Ordering::Relaxed);
        self.worker.shared.end_lease(self.id);
    }
}
