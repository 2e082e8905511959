//! What was sent and what came back.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counters of the traffic since its start.
#[derive(Debug, Default)]
pub struct Counters {
    pub sent: Counter,
    pub succeeded: Counter,
    pub refused: Counter,
    pub timed_out: Counter,
    pub failed: Counter,
    pub dropped: Counter,
    pub targets: Counter,
    /// Requests a second that are aimed at, in thousandths.
    pub millirate: Counter,
}

/// A number that many tasks count on.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// As it is now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was sent and what came back, since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadStatus {
    /// Requests a second that are aimed at now, the surge included.
    pub rate: f64,
    /// By how much a surge multiplies now.
    pub factor: f64,
    /// Replicas that are sent to.
    pub targets: u64,
    /// Requests sent.
    pub sent: u64,
    /// Of them, those under way.
    pub in_flight: u64,
    /// Of them, those answered 2xx.
    pub succeeded: u64,
    /// Of them, those answered anything else.
    pub refused: u64,
    /// Of them, those given up.
    pub timed_out: u64,
    /// Of them, those without an answer: no connection, or one that broke.
    pub failed: u64,
    /// Requests that were due and not sent: too many under way, or nobody to send to.
    pub dropped: u64,
}

impl Counters {
    /// All of them.
    pub fn status(&self, factor: f64) -> LoadStatus {
        // Read before what was sent, so that those under way are never less than none.
        let (succeeded, refused) = (self.succeeded.get(), self.refused.get());
        let (timed_out, failed) = (self.timed_out.get(), self.failed.get());
        let sent = self.sent.get();
        LoadStatus {
            rate: self.millirate.get() as f64 / 1000.0,
            factor,
            targets: self.targets.get(),
            sent,
            in_flight: sent.saturating_sub(succeeded + refused + timed_out + failed),
            succeeded,
            refused,
            timed_out,
            failed,
            dropped: self.dropped.get(),
        }
    }
}
