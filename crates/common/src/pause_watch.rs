//! Pauses of this process: it was stopped, or the machine gave it no processor time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use anomalyzer_domain::{UnixMs, millis};

use super::clock::now_ms;

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(250);
/// Shortest gap between two ticks that counts as a pause.
const MIN_PAUSE: Duration = Duration::from_secs(2);

/// A time in which a process stood still, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Beginning.
    pub from: UnixMs,
    /// End.
    pub to: UnixMs,
}

struct Ticks {
    last: Instant,
    pauses: Vec<Pause>,
    latest: Option<(Instant, Pause)>,
}

/// Measures pauses by ticks of the monotonic clock. Clones share the measurement.
#[derive(Clone)]
pub struct PauseWatch(Arc<Mutex<Ticks>>);

impl Default for PauseWatch {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Ticks {
            last: Instant::now(),
            pauses: vec![],
            latest: None,
        })))
    }
}

impl PauseWatch {
    /// Ticks until the future is dropped.
    pub async fn run(self) {
        self.0.lock().last = Instant::now();
        loop {
            self.tick();
            sleep(TICK).await;
        }
    }

    fn tick(&self) {
        let mut ticks = self.0.lock();
        let now = Instant::now();
        let gap = now.duration_since(std::mem::replace(&mut ticks.last, now));
        if gap >= MIN_PAUSE {
            tracing::warn!(?gap, "this process stood still; the time is excused");
            let to = now_ms();
            let pause = Pause {
                from: to.saturating_sub(millis(gap)),
                to,
            };
            ticks.pauses.push(pause);
            ticks.latest = Some((now, pause));
        }
    }

    /// Returns the pauses since the last call. It ticks too, so that a pause is known before
    /// anything is decided after it.
    pub fn take(&self) -> Vec<Pause> {
        self.tick();
        std::mem::take(&mut self.0.lock().pauses)
    }

    /// Returns the latest pause, if it ended within `age`. It ticks too.
    pub fn latest(&self, age: Duration) -> Option<Pause> {
        self.tick();
        let ticks = self.0.lock();
        let (at, pause) = ticks.latest?;
        (at.elapsed() <= age).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_long_gaps_are_pauses_and_each_is_taken_once() {
        let watch = PauseWatch::default();
        let watching = tokio::spawn(watch.clone().run());
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
        assert_eq!(watch.latest(Duration::from_secs(9)), Some(pauses[0]));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(watch.latest(Duration::from_secs(9)), None);
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_known_before_the_next_tick() {
        let watch = PauseWatch::default();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(watch.latest(Duration::from_secs(1)).is_some());
        assert_eq!(watch.take().len(), 1);
    }
}
