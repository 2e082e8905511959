//! A bounded pool of workers behind a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};

/// Outcome of a request in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Success: a worker did the work.
    Done,
    /// Rejection: the queue was full.
    QueueFull,
    /// Timeout: the request waited too long for a worker.
    DeadlineExceeded,
}

/// The pool. The permits of the semaphore are the workers. The waiters for a permit are the queue,
/// first come, first served.
pub struct Pool {
    workers: Arc<Semaphore>,
    worker_count: u32,
    waiting: AtomicU32,
    queue: u32,
    work: Duration,
    deadline: Duration,
}

impl Pool {
    /// Creates a pool with `workers` workers and `queue` places in the queue. `work` is the mean
    /// duration of the work, and `deadline` is the maximum wait in the queue.
    pub fn new(workers: u32, queue: u32, work: Duration, deadline: Duration) -> Self {
        let permits = usize::try_from(workers)
            .unwrap_or(Semaphore::MAX_PERMITS)
            .min(Semaphore::MAX_PERMITS);
        Self {
            workers: Arc::new(Semaphore::new(permits)),
            worker_count: workers,
            waiting: AtomicU32::new(0),
            queue,
            work,
            deadline,
        }
    }

    /// Waits for a worker to finish the work of one request. The work takes `factor()` times the
    /// mean; `factor` is called when the work begins. Started work continues to its end even if
    /// nobody waits for it any more.
    pub async fn serve(&self, factor: impl FnOnce() -> f64) -> Served {
        let worker = match self.workers.clone().try_acquire_owned() {
            Ok(worker) => worker,
            Err(TryAcquireError::Closed) => return Served::QueueFull,
            Err(TryAcquireError::NoPermits) => {
                let Some(_place) = Place::take(&self.waiting, self.queue) else {
                    return Served::QueueFull;
                };
                match tokio::time::timeout(self.deadline, self.workers.clone().acquire_owned())
                    .await
                {
                    Ok(Ok(worker)) => worker,
                    Ok(Err(_)) => return Served::QueueFull,
                    Err(_) => return Served::DeadlineExceeded,
                }
            }
        };
        let work = self.work.mul_f64(factor().clamp(0.0, 1e6) * spread());
        let done = tokio::spawn(async move {
            tokio::time::sleep(work).await;
            drop(worker);
        });
        // The task neither panics nor is aborted before the runtime ends.
        let _ = done.await;
        Served::Done
    }

    /// Returns the number of requests that wait for a worker.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the number of busy workers.
    pub fn busy(&self) -> u32 {
        let free = u32::try_from(self.workers.available_permits()).unwrap_or(u32::MAX);
        self.worker_count.saturating_sub(free)
    }
}

/// A place in the queue. Dropping it frees the place, also when the client went away.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32, queue: u32) -> Option<Self> {
        let more = |waiting| (waiting < queue).then_some(waiting + 1);
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns a gamma-distributed number with shape 4 and mean 1: mostly near 1, with a tail (the mean
/// of four exponential times).
fn spread() -> f64 {
    let product: f64 = (0..4).map(|_| 1.0 - fastrand::f64()).product();
    -product.ln() / 4.0
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// Creates a pool whose work takes longer than any test.
    fn endless(queue: u32, deadline: Duration) -> Pool {
        Pool::new(1, queue, Duration::from_secs(600), deadline)
    }

    #[tokio::test]
    async fn what_finds_no_place_in_the_queue_is_turned_away_and_what_waits_too_long_gives_up() {
        let pool = endless(1, Duration::from_millis(200));
        let mut working = pin!(pool.serve(|| 1.0));
        assert!(futures::poll!(&mut working).is_pending());
        assert_eq!((pool.busy(), pool.waiting()), (1, 0));
        let mut waiting = pin!(pool.serve(|| 1.0));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!((pool.busy(), pool.waiting()), (1, 1));
        assert_eq!(pool.serve(|| 1.0).await, Served::QueueFull);
        assert_eq!(waiting.await, Served::DeadlineExceeded);
        assert_eq!((pool.busy(), pool.waiting()), (1, 0));
    }

    #[tokio::test]
    async fn a_worker_ends_its_work_though_the_client_went_away() {
        let pool = endless(0, Duration::ZERO);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), pool.serve(|| 1.0))
                .await
                .is_err()
        );
        assert_eq!(pool.busy(), 1);
        assert_eq!(pool.serve(|| 1.0).await, Served::QueueFull);
    }

    #[test]
    fn the_spread_of_the_work_has_a_mean_of_one() {
        let mean = (0..100_000).map(|_| spread()).sum::<f64>() / 100_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
