//! The sending of requests by a clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shape::{Shape, Surges};
use super::status::Counters;

/// What is asked for, as often as it stands here.
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

/// The longest that is slept between two requests: a surge begins after that, however low the rate
/// is.
const NAP: Duration = Duration::from_millis(100);

/// How far behind its clock the traffic may fall before it gives up what it owes (a laptop that
/// slept).
const LAG: Duration = Duration::from_secs(1);

/// Traffic to be sent.
pub struct Traffic {
    pub targets: watch::Receiver<Vec<String>>,
    pub client: reqwest::Client,
    pub in_flight: usize,
    pub surges: Arc<Surges>,
    pub counters: Arc<Counters>,
}

impl Traffic {
    /// Sends until the shutdown; requests under way are then cut.
    pub async fn run(self, mut shape: Shape, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.in_flight.min(Semaphore::MAX_PERMITS)));
        let requests = TaskTracker::new();
        let started = Instant::now();
        let mut due = started;
        let mut turn = 0;
        loop {
            let rate = shape.rate(due.duration_since(started)) * self.surges.factor();
            self.counters.millirate.set((rate * 1000.0) as u64);
            // Arrivals of a Poisson process are exponentially far apart. Because it has no memory,
            // a long gap may be cut and drawn again, at the rate of that moment.
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
                self.send(turn, &places, &requests, &shutdown);
                turn = turn.wrapping_add(1);
            }
        }
        requests.close();
        requests.wait().await;
    }

    fn send(
        &self,
        turn: usize,
        places: &Arc<Semaphore>,
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
        let (Some(url), Ok(place)) = (url, places.clone().try_acquire_owned()) else {
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
            drop(place);
        });
    }
}
