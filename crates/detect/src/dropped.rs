//! Counters of the input that the engine drops because a bound is reached.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Counters of dropped input, shared by the engine and the API.
#[derive(Debug, Default, Serialize)]
pub struct DroppedCounters {
    /// Messages of signals that are not configured, beyond the maximum number of such signals.
    pub messages: AtomicU64,
    /// Reports of absent sources, beyond the maximum number of absent sources.
    pub silences: AtomicU64,
}

impl DroppedCounters {
    /// Counts messages of a signal beyond the maximum `max`, and logs the first time.
    pub(super) fn count_messages(&self, signal: &str, messages: u64, max: usize) {
        if self.messages.fetch_add(messages, Relaxed) == 0 {
            tracing::warn!(
                signal,
                max,
                "dropping messages: more signals arrive that are not configured than the maximum"
            );
        }
    }
}
