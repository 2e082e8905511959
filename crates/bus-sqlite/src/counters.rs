//! Counters of the local bus, and its current problem.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters for `/health` and `/metrics`.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) full: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    pub(super) problem: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn add_dead_letter(&self) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, problem: &str) {
        let mut known = self.problem.lock();
        if known.as_deref() != Some(problem) {
            tracing::error!(problem, "the local bus cannot write");
            *known = Some(problem.to_owned());
        }
    }

    pub(super) fn has_problem(&self) -> bool {
        self.problem.lock().is_some()
    }

    pub(super) fn solve(&self) {
        if self.problem.lock().take().is_some() {
            tracing::info!("the local bus can write again");
        }
    }
}
