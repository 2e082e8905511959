//! Circuit breaker: after consecutive failures it blocks requests for a pause. After the pause a
//! single request probes the service, and its outcome closes or opens the breaker for all.

use std::time::{Duration, Instant};

/// Counter of consecutive failures.
pub(super) struct Breaker {
    threshold: u32,
    pause: Duration,
    /// Time that a probe has to report its outcome. A probe that was dropped must not block the
    /// service for ever.
    probe_timeout: Duration,
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(threshold: u32, pause: Duration, probe_timeout: Duration) -> Self {
        Self {
            threshold,
            pause,
            probe_timeout,
            failures: 0,
            open_until: None,
        }
    }

    /// Returns true if a request would be refused now.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// Admits a request, or returns false. Of the requests after the pause it admits the first as
    /// the probe, and refuses the others until the probe has reported its outcome.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if self.refuses(now) {
            return false;
        }
        if self.open_until.is_some() {
            self.open_until = Some(now + self.pause.max(self.probe_timeout));
        }
        true
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

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_admits_one_probe_after_the_pause() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2, seconds(10), seconds(30));
        breaker.failed(start);
        assert!(breaker.admit(start));
        breaker.failed(start);
        assert!(!breaker.admit(start + seconds(9)));
        let admitted = (0..5).filter(|_| breaker.admit(start + seconds(10)));
        assert_eq!(admitted.count(), 1, "the others wait for the probe");
        breaker.failed(start + seconds(11));
        assert!(!breaker.admit(start + seconds(20)));
        assert!(breaker.admit(start + seconds(21)));
        breaker.succeeded();
        assert!((0..5).all(|_| breaker.admit(start + seconds(21))));
    }

    #[test]
    fn a_probe_without_an_outcome_makes_room_for_another_one() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, seconds(10), seconds(30));
        breaker.failed(start);
        assert!(breaker.admit(start + seconds(10)));
        assert!(!breaker.admit(start + seconds(39)));
        assert!(breaker.admit(start + seconds(40)));
        assert!(!breaker.admit(start + seconds(40)));
    }
}
