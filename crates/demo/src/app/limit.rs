//! Limit of the admitted requests, which the action `rate_limit` sets.

use parking_lot::Mutex;

use tokio::time::Instant;

/// A token bucket with the capacity of one second, so that short bursts pass.
#[derive(Debug)]
pub struct Limit {
    per_second: f64,
    bucket: Mutex<(f64, Instant)>,
}

impl Limit {
    /// Creates a limit of `per_second` requests a second.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            bucket: Mutex::new((per_second.max(1.0), Instant::now())),
        }
    }

    /// Returns true if one more request may come in now.
    pub fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let (tokens, filled_at) = *bucket;
        let more = now.saturating_duration_since(filled_at).as_secs_f64() * self.per_second;
        let tokens = (tokens + more).min(self.per_second.max(1.0));
        let admitted = tokens >= 1.0;
        *bucket = (
            if admitted { tokens - 1.0 } else { tokens },
            now.max(filled_at),
        );
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_come_in_as_the_limit_says_and_never_more_in_a_burst_than_in_a_second() {
        let limit = Limit::new(10.0);
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| limit.admits_at(start)).count(), 10);
        let later = |i: u64| start + Duration::from_millis(i);
        assert_eq!((0..2000).filter(|i| limit.admits_at(later(*i))).count(), 19);
        assert_eq!(
            (0..100).filter(|_| limit.admits_at(later(60_000))).count(),
            10
        );
    }
}
