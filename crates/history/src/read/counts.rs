//! Counts of the reads that failed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time for which a refusal counts as recent.
const LATELY: Duration = Duration::from_secs(60);
/// Maximum number of recent refusals that are counted.
const MAX_LATELY: usize = 1000;

/// Counters of the readers of one purpose.
#[derive(Debug, Default)]
pub(super) struct ReadCounts {
    refused: AtomicU64,
    interrupted: AtomicU64,
    /// Times of the last refusals.
    lately: Mutex<VecDeque<Instant>>,
}

impl ReadCounts {
    /// Counts a read that got no connection.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut lately = self.lately.lock();
        lately.truncate(MAX_LATELY);
        lately.push_front(Instant::now());
    }

    /// Counts a read that took too long.
    pub(super) fn count_interrupted(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of reads within the last minute that got no connection.
    pub(super) fn refused_lately(&self) -> u64 {
        let mut lately = self.lately.lock();
        lately.retain(|at| at.elapsed() < LATELY);
        lately.len() as u64
    }

    /// Returns the numbers of reads without a connection and of interrupted reads.
    pub(super) fn totals(&self) -> [u64; 2] {
        [&self.refused, &self.interrupted].map(|count| count.load(Ordering::Relaxed))
    }
}
