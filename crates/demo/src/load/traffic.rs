//! Sends requests, triggered by a clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shape::{Shape, Surges};
use super::status::Counters;

/// Paths to request. A path's share of the traffic is its share of the entries.
const PATHS: [&str; 10] = [
    "/",
    "/search",
    "/",
    "/checkout",
    "/",
    "/search",
    "/",
    "/search",
    "/",
    "/checkout",
];

/// Maximum sleep between two requests. A surge takes effect within this time even at a low rate.
const NAP: Duration = Duration::from_millis(100);

/// Maximum lag of the traffic behind its clock. Requests that are due for longer are skipped (after
/// a laptop slept).
const LAG: Duration = Duration::from_secs(1);

/// Generator of the traffic.
pub struct Traffic {
    pub targets: watch::Receiver<Vec<String>>,
    pub client: reqwest::Client,
    pub in_flight: usize,
    pub surges: Arc<Surges>,
    pub counters: Arc<Counters>,
}

impl Traffic {
    /// Sends requests until the shutdown, then drops the running ones.
    pub async fn run(self, mut shape: Shape, shutdown: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.in_flight.min(Semaphore::MAX_PERMITS)));
        let requests = TaskTracker::new();
        let started = Instant::now();
        let mut due = started;
        let mut turn = 0;
        loop {
            let rate = shape.rate(due.duration_since(started)) * self.surges.factor();
            self.counters.millirate.set((rate * 1000.0) as u64);
            // The gaps between arrivals of a Poisson process are exponentially distributed. Because
            // the process has no memory, a long gap may be cut and drawn again at the rate of that
            // moment.
            let gap = if rate > 0.0 {
                -(1.0 - fastrand::f64()).ln() / rate
            } else {
                f64::INFINITY
            };
            let arrives = gap < NAP.as_secs_f64();
            due += if arrives {
                Duration::from_secs_f64(gap)
            } else {
                NAP
            };
            due = due.max(Instant::now() - LAG);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            if arrives {
                self.send(turn, &permits, &requests, &shutdown);
                turn = turn.wrapping_add(1);
            }
        }
        requests.close();
        requests.wait().await;
    }

    fn send(
        &self,
        turn: usize,
        permits: &Arc<Semaphore>,
        requests: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let url = {
            let targets = self.targets.borrow();
            self.counters.targets.set(targets.len() as u64);
            let target = targets.get(turn.checked_rem(targets.len()).unwrap_or(0));
            target.map(|target| {
                format!(
                    "{}{}",
                    target.trim_end_matches('/'),
                    PATHS[fastrand::usize(..PATHS.len())]
                )
            })
        };
        let (Some(url), Ok(permit)) = (url, permits.clone().try_acquire_owned()) else {
            return self.counters.dropped.more();
        };
        self.counters.sent.more();
        let (request, counters, shutdown) = (
            self.client.get(url).send(),
            self.counters.clone(),
            shutdown.clone(),
        );
        requests.spawn(async move {
            let answered = async { request.await?.error_for_status()?.bytes().await };
            let outcome = tokio::select! {
                outcome = answered => outcome,
                () = shutdown.cancelled() => return counters.failed.more(),
            };
            match outcome {
                Ok(_) => counters.succeeded.more(),
                Err(error) if error.is_status() => counters.refused.more(),
                Err(error) if error.is_timeout() => counters.timed_out.more(),
                Err(_) => counters.failed.more(),
            }
            drop(permit);
        });
    }
}
