//! How long a container waits before it is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// Who ran as long as this is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Kubernetes's delays: the first restart at once, then after 10 s, 20 s, 40 s, up to five minutes.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    /// The first wait is ten seconds too, as it is for images.
    pub(super) fn from_the_start() -> Self {
        Self { next: FIRST }
    }

    /// The delay after an attempt that lasted `ran`.
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
