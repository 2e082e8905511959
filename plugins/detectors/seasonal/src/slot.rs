//! Usual value at one hour.

use serde::{Deserialize, Serialize};

/// Rate at which a known hour follows its samples.
const RATE: f64 = 0.02;

/// Exponentially weighted mean, and mean distance from it. Both are plain means at first.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slot {
    mean: f64,
    /// Mean distance of a sample from the mean before it.
    off: f64,
    samples: u32,
    /// Number of days with a sample, and the last of these days, counted from 1970.
    days: u16,
    last_day: i64,
}

impl Slot {
    /// Returns the number of days with a sample before `day`.
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

    /// Returns the standard deviation for Gaussian distances: √(π/2) times their mean.
    pub(crate) fn deviation(&self) -> f64 {
        self.off * std::f64::consts::FRAC_PI_2.sqrt()
    }

    /// Learns a value, as no further from the mean than `most`. `most` is infinite until the slot
    /// is known.
    pub(crate) fn learn(&mut self, day: i64, value: f64, most: f64) {
        if self.days == 0 || self.last_day != day {
            self.days = self.days.saturating_add(1);
            self.last_day = day;
        }
        self.samples = self.samples.saturating_add(1);
        let rate = (1.0 / f64::from(self.samples)).max(RATE);
        let off = (value - self.mean).clamp(-most, most);
        self.mean += rate * off;
        // The first value has no mean before it, and so no distance.
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
