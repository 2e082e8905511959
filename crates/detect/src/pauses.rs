//! Pauses of this process: it was stopped, or the machine gave it no processor time. The sources
//! were not silent then, and nothing was calm.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{UnixMs, millis};

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(250);
/// Shortest gap between two ticks that counts as a pause.
const MIN_PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of remembered pauses. The oldest is forgotten first.
const MAX_PAUSES: usize = 64;

/// A time in which this process stood still, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
}

struct Ticks {
    last: Instant,
    pauses: Vec<Pause>,
}

/// Measures pauses by ticks of the monotonic clock. Clones share the measurement.
#[derive(Clone)]
pub(super) struct PauseWatch(Arc<Mutex<Ticks>>);

impl PauseWatch {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Ticks {
            last: Instant::now(),
            pauses: vec![],
        })))
    }

    /// Ticks until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        self.0.lock().last = Instant::now();
        while !stop.is_cancelled() {
            self.tick();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
        }
    }

    fn tick(&self) {
        let mut ticks = self.0.lock();
        let now = Instant::now();
        let gap = now.duration_since(std::mem::replace(&mut ticks.last, now));
        if gap >= MIN_PAUSE {
            tracing::warn!(?gap, "this process stood still; the time is excused");
            let to = now_ms();
            ticks.pauses.push(Pause {
                from: to.saturating_sub(millis(gap)),
                to,
            });
        }
    }

    /// Returns the pauses since the last call. It ticks too, so that a pause is known before
    /// anything is decided after it.
    pub(super) fn take(&self) -> Vec<Pause> {
        self.tick();
        std::mem::take(&mut self.0.lock().pauses)
    }
}

/// The pauses that are excused.
#[derive(Clone, Debug, Default)]
pub(super) struct ExcusedTime(VecDeque<Pause>);

impl ExcusedTime {
    /// Excuses a pause. Pauses do not overlap.
    pub(super) fn excuse(&mut self, pause: Pause) {
        if self.0.len() == MAX_PAUSES {
            self.0.pop_front();
        }
        self.0.push_back(pause);
    }

    /// Returns the milliseconds from `since` to `now`, without the pauses between them.
    pub(super) fn passed(&self, since: UnixMs, now: UnixMs) -> i64 {
        let excused = self.0.iter().map(|pause| {
            let overlap = pause.to.min(now).saturating_sub(pause.from.max(since));
            overlap.max(0)
        });
        let excused = excused.fold(0, i64::saturating_add);
        now.saturating_sub(since).saturating_sub(excused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test(start_paused = true)]
    async fn only_long_gaps_are_pauses_and_each_is_taken_once() {
        let (watch, stop) = (PauseWatch::new(), CancellationToken::new());
        let watching = tokio::spawn(watch.clone().run(stop.clone()));
        sleep(Duration::from_secs(100)).await;
        assert_eq!(watch.take(), []);
        for gap in [1_900, 60_000] {
            tokio::time::advance(Duration::from_millis(gap)).await;
            sleep(TICK * 2).await;
        }
        let pauses = watch.take();
        assert_eq!(pauses.len(), 1);
        let length = pauses[0].to - pauses[0].from;
        assert!((59_000..=61_000).contains(&length), "{length}");
        assert_eq!(watch.take(), []);
        stop.cancel();
        watching.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_known_before_the_next_tick() {
        let watch = PauseWatch::new();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(watch.take().len(), 1);
    }

    #[test]
    fn the_pauses_between_two_times_do_not_count() {
        let mut time = ExcusedTime::default();
        time.excuse(Pause { from: 10, to: 20 });
        time.excuse(Pause { from: 30, to: 40 });
        for (since, now, passed) in [
            (0, 50, 30),
            (0, 10, 10),
            (15, 35, 10),
            (20, 30, 10),
            (12, 18, 0),
            (50, 60, 10),
            (60, 50, -10),
        ] {
            assert_eq!(time.passed(since, now), passed, "{since} to {now}");
        }
    }

    proptest! {
        #[test]
        fn no_time_makes_it_panic_and_pauses_only_shorten(times in prop::collection::vec(any::<i64>(), 4..300)) {
            let mut time = ExcusedTime::default();
            for pair in times.windows(2) {
                time.excuse(Pause { from: pair[0].min(pair[1]), to: pair[0].max(pair[1]) });
            }
            prop_assert!(time.0.len() <= MAX_PAUSES);
            let (since, now) = (times[0], times[1]);
            prop_assert!(time.passed(since, now) <= now.saturating_sub(since));
        }
    }
}
