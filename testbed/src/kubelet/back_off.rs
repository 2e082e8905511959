//! Delays between the restarts of a container.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// Duration of a run after which the delays begin anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Kubernetes's delays: none before the first restart, then 10 s, 20 s, 40 s, up to five minutes.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// Returns the delays for images, where the first delay is ten seconds.
    pub(super) fn from_the_start() -> Self {
        Self { next: FIRST }
    }

    /// Returns the delay after an attempt that lasted `ran`.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= FORGIVEN_AFTER {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = (delay * 2).clamp(FIRST, LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_are_forgotten_after_a_long_run() {
        let mut back_off = BackOff::default();
        let short = Duration::from_secs(1);
        let seconds: Vec<_> = (0..8).map(|_| back_off.after(short).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.after(FORGIVEN_AFTER), Duration::ZERO);
    }
}
