//! Progress of the engine: how far it is behind, and whether it can read its input.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::dropped::{DropShare, Dropped};
use anomalyzer_domain::UnixMs;

/// Progress of the engine, for its readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineLag {
    /// Age of the newest samples at the time when they were processed, or the time that the present
    /// batch has taken if that is longer.
    pub behind: Duration,
    /// A large share of messages that were set aside.
    pub unreadable: Option<Dropped>,
}

#[derive(Default)]
struct Inside {
    behind: Duration,
    busy_since: Option<Instant>,
    unreadable: DropShare,
}

/// Progress of the engine, shared by the engine and its readers.
#[derive(Default)]
pub struct EngineProgress(Mutex<Inside>);

impl EngineProgress {
    /// Notes that a batch begins.
    pub(super) fn begin(&self) {
        self.0.lock().busy_since = Some(Instant::now());
    }

    /// Notes that a batch ended.
    pub(super) fn end(&self) {
        self.0.lock().busy_since = None;
    }

    /// Notes that nothing is left to process.
    pub(super) fn caught_up(&self) {
        self.0.lock().behind = Duration::ZERO;
    }

    /// Notes the messages of a batch: `newest` is the time of the newest samples that the service
    /// collected itself. The times of other producers say nothing about the engine.
    pub(super) fn note(&self, now: UnixMs, newest: Option<UnixMs>, read: usize, unreadable: usize) {
        let mut inside = self.0.lock();
        if let Some(newest) = newest {
            let age = u64::try_from(now.saturating_sub(newest)).unwrap_or(0);
            inside.behind = Duration::from_millis(age);
        }
        inside.unreadable.count(now, read as u64, unreadable as u64);
    }

    /// Returns the present state.
    pub fn lag(&self) -> EngineLag {
        let inside = self.0.lock();
        let busy = inside.busy_since.map(|since| since.elapsed());
        EngineLag {
            behind: inside.behind.max(busy.unwrap_or_default()),
            unreadable: inside.unreadable.large(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_newest_own_samples_counts_until_the_engine_has_caught_up() {
        let progress = EngineProgress::default();
        progress.note(90_000, Some(20_000), 1, 0);
        assert_eq!(progress.lag().behind, Duration::from_secs(70));
        progress.note(91_000, None, 1, 0);
        assert_eq!(progress.lag().behind, Duration::from_secs(70));
        progress.note(91_000, Some(95_000), 1, 0);
        assert_eq!(progress.lag().behind, Duration::ZERO, "a clock ahead");
        progress.note(i64::MAX, Some(i64::MIN), 1, 0);
        progress.caught_up();
        assert_eq!(progress.lag().behind, Duration::ZERO);
    }

    #[test]
    fn an_engine_that_is_stuck_in_a_batch_falls_behind() {
        let progress = EngineProgress::default();
        progress.begin();
        let deadline = Instant::now() + Duration::from_secs(60);
        while progress.lag().behind < Duration::from_millis(20) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        progress.end();
        assert_eq!(progress.lag().behind, Duration::ZERO);
    }
}
