//! Counters of requests and responses.

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
    /// Target rate in thousandths of a request per second.
    pub millirate: Counter,
}

/// An atomic counter that many tasks share.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests and responses since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadStatus {
    /// Target rate in requests per second now, including the surge.
    pub rate: f64,
    /// Present factor of a surge.
    pub factor: f64,
    /// Number of replicas that receive requests.
    pub targets: u64,
    /// Number of sent requests.
    pub sent: u64,
    /// Number of sent requests that still run.
    pub in_flight: u64,
    /// Number of sent requests that were answered 2xx.
    pub succeeded: u64,
    /// Number of sent requests that were answered with another status.
    pub refused: u64,
    /// Number of sent requests that timed out.
    pub timed_out: u64,
    /// Number of sent requests without a response: no connection, or a broken one.
    pub failed: u64,
    /// Number of requests that were due but not sent, because of too many running requests or no
    /// targets.
    pub dropped: u64,
}

impl Counters {
    /// Returns the values of all counters.
    pub fn status(&self, factor: f64) -> LoadStatus {
        // The results are read before `sent`, so that the number of running requests is never
        // negative.
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
