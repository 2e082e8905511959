//! Usual values of the hours of the week.

use anomalyzer_plugin_sdk::UnixMs;
use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;
/// Number of hours in a week, in UTC. Daylight saving moves a local rhythm by one place, which is
/// learnt again within a week.
const HOURS: usize = 7 * 24;
/// Rate at which an hour's value follows the samples that are at least `RATE_MS` apart.
const RATE: f64 = 0.2;
const RATE_MS: i64 = 300_000;

/// Value for each hour of the week. Samples that come more often than every five minutes move it
/// less each. It is then the value of the whole hour and not of its last minute.
#[derive(Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Value of each hour. NaN if that hour was never seen.
    of_hour: Vec<f64>,
    last: Option<UnixMs>,
    /// Interval that `rate` is for. It seldom changes.
    interval: i64,
    rate: f64,
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self {
            of_hour: vec![f64::NAN; HOURS],
            last: None,
            interval: RATE_MS,
            rate: RATE,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        self.of_hour.len() == HOURS && (0.0..=1.0).contains(&self.rate)
    }

    /// Returns the usual value at that time, then learns the new value. Returns none if the hour is
    /// new.
    #[inline]
    pub(crate) fn observe(&mut self, at: UnixMs, value: f64) -> Option<f64> {
        let interval = self
            .last
            .map_or(RATE_MS, |last| at.saturating_sub(last))
            .min(RATE_MS);
        self.last = Some(at);
        if interval != self.interval {
            self.change_rate(interval);
        }
        let usual = &mut self.of_hour[hour_of_week(at)];
        if usual.is_nan() {
            *usual = value;
            return None;
        }
        let before = *usual;
        *usual += self.rate * (value - before);
        Some(before)
    }

    #[cold]
    fn change_rate(&mut self, interval: i64) {
        self.interval = interval;
        self.rate = 1.0 - (1.0 - RATE).powf(interval as f64 / RATE_MS as f64);
    }
}

/// Returns the hour of the week. Thursday, 0:00 UTC is 0, because 1970-01-01 was a Thursday.
fn hour_of_week(at: UnixMs) -> usize {
    at.div_euclid(HOUR_MS).rem_euclid(HOURS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_of_the_week_has_its_value_also_before_1970() {
        assert_eq!(
            [-1, 0, HOUR_MS - 1, HOUR_MS, 7 * 24 * HOUR_MS].map(hour_of_week),
            [167, 0, 0, 1, 0]
        );
        let mut profile = Profile::new();
        assert_eq!(profile.observe(0, 10.0), None);
        assert_eq!(profile.observe(HOUR_MS, 99.0), None);
        assert_eq!(profile.observe(7 * 24 * HOUR_MS, 20.0), Some(10.0));
        assert_eq!(profile.observe(14 * 24 * HOUR_MS, 0.0), Some(12.0));
    }

    #[test]
    fn twenty_samples_in_five_minutes_move_it_as_far_as_one() {
        let (mut often, mut seldom) = (Profile::new(), Profile::new());
        for minute in 0..=1 {
            seldom.observe(minute * RATE_MS, minute as f64);
        }
        for quarter in 0..=20 {
            often.observe(quarter * 15_000, f64::from(quarter > 0));
        }
        let (often, seldom) = (often.of_hour[0], seldom.of_hour[0]);
        assert!(
            (seldom - 0.2).abs() < 1e-12 && (often - 0.2).abs() < 1e-12,
            "{often} {seldom}"
        );
    }
}
