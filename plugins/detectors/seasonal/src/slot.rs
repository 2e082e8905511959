//! What is usual at one hour.

use serde::{Deserialize, Serialize};

/// How fast an hour that is known follows, by its samples.
const RATE: f64 = 0.02;

/// The exponentially weighted mean and mean distance from it; plain ones at first.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slot {
    mean: f64,
    /// The mean distance of a sample from the mean before it.
    off: f64,
    samples: u32,
    /// On how many days it was looked at, and the last of them, counted from 1970.
    days: u16,
    last_day: i64,
}

impl Slot {
    /// Days on which it was looked at before this one.
    pub(crate) fn days_before(&self, day: i64) -> u16 {
        if self.last_day == day {
            self.days.saturating_sub(1)
        } else {
            self.days
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation, if the distances are Gaussian: √(π/2) times their mean.
    pub(crate) fn deviation(&self) -> f64 {
        self.off * std::f64::consts::FRAC_PI_2.sqrt()
    }

    /// Learns a value, no further from the mean than `most` once the slot is known.
    pub(crate) fn learn(&mut self, day: i64, value: f64, most: f64) {
        if self.days == 0 || self.last_day != day {
            self.days = self.days.saturating_add(1);
            self.last_day = day;
        }
        self.samples = self.samples.saturating_add(1);
        let rate = (1.0 / f64::from(self.samples)).max(RATE);
        let off = (value - self.mean).clamp(-most, most);
        self.mean += rate * off;
        // The first value has no distance from anything.
        if self.samples > 1 {
            self.off += rate * (off.abs() - self.off);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_its_values() {
        let mut slot = Slot::default();
        for i in 0..10_000 {
            slot.learn(i / 12, if i % 2 == 0 { 90.0 } else { 110.0 }, f64::INFINITY);
        }
        assert!((slot.mean() - 100.0).abs() < 0.2, "{}", slot.mean());
        assert!((slot.off - 10.0).abs() < 0.3, "{}", slot.off);
        assert_eq!((slot.days_before(833), slot.days_before(834)), (833, 834));
    }
}
