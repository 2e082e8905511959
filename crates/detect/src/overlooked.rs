//! What was not looked at, because there is a bound to how much can be.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Counts; shared between the engine and who shows them.
#[derive(Debug, Default, Serialize)]
pub struct Overlooked {
    /// Messages of signals that are not configured, beyond the most that are watched.
    pub messages: AtomicU64,
    /// Reports of silent sources, beyond the most that are watched.
    pub silences: AtomicU64,
}

impl Overlooked {
    /// Counts messages of a signal for which there was no room; the first time it is said in the
    /// log.
    pub(super) fn count(&self, signal: &str, messages: u64, most: usize) {
        if self.messages.fetch_add(messages, Relaxed) == 0 {
            tracing::warn!(
                signal,
                most,
                "more signals arrive that are not configured than are looked at: who sends them?"
            );
        }
    }
}
