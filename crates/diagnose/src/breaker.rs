//! Circuit breaker: after consecutive failures it blocks requests for a pause.

use std::time::{Duration, Instant};

/// Counter of consecutive failures.
pub(super) struct Breaker {
    threshold: u32,
    pause: Duration,
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(threshold: u32, pause: Duration) -> Self {
        Self {
            threshold,
            pause,
            failures: 0,
            open_until: None,
        }
    }

    /// Returns true if a request is allowed. After the pause a request is allowed again.
    pub(super) fn closed(&self, now: Instant) -> bool {
        self.open_until.is_none_or(|until| now >= until)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.threshold {
            self.open_until = Some(now + self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_through_after_the_pause() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2, Duration::from_secs(10));
        breaker.failed(start);
        assert!(breaker.closed(start));
        breaker.failed(start);
        assert!(!breaker.closed(start + Duration::from_secs(9)));
        assert!(breaker.closed(start + Duration::from_secs(10)));
        breaker.failed(start + Duration::from_secs(10));
        assert!(!breaker.closed(start + Duration::from_secs(19)));
        breaker.succeeded();
        assert!(breaker.closed(start + Duration::from_secs(19)));
    }
}
