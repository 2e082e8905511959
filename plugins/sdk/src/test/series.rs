//! Test series that look like those of a host, from a seed. They are equal each time and on any
//! machine.
//!
//! ```
//! use anomalyzer_plugin_sdk::test::series::{Series, any};
//!
//! // 100 ± 5, with a rhythm of 96 samples, twice as high from sample 300 on, and an hour without
//! // samples.
//! let samples = Series::noise(1, 600, 100.0, 5.0)
//!     .season(96, 20.0)
//!     .shift(300.., 120.0)
//!     .gap(450, 3_600_000)
//!     .samples();
//! assert_eq!(samples.len(), 600);
//!
//! // A property test takes any series that a seed makes.
//! assert_eq!(any(7), any(7));
//! ```

use std::ops::{Bound, RangeBounds};

use crate::UnixMs;

/// 2026-01-01T00:00:00Z.
const BEGIN: UnixMs = 1_767_225_600_000;
/// Prometheus's usual interval.
const EVERY_MS: i64 = 15_000;

/// Random numbers from a seed (SplitMix64, Steele et al. 2014). They are not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Makes a generator. An equal seed gives equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns any of the 2^64 numbers.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number that is at least 0 and less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// Returns a number that is at least 0 and less than 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number with mean 0 and standard deviation 1, never beyond 6 (the sum of twelve
    /// uniform numbers).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

/// Builder of a series, 15 s from sample to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    samples: Vec<(UnixMs, f64)>,
}

impl Series {
    /// Makes a series of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            samples: (0..).map(|i| BEGIN + i * EVERY_MS).zip(values).collect(),
        }
    }

    /// Makes a series of Gaussian noise about a mean.
    pub fn noise(seed: u64, samples: usize, mean: f64, deviation: f64) -> Self {
        let mut random = Random::new(seed);
        Self::of(
            (0..samples)
                .map(|_| mean + random.normal() * deviation)
                .collect::<Vec<_>>(),
        )
    }

    /// Adds a sine with that period in samples.
    #[must_use]
    pub fn season(self, period: usize, amplitude: f64) -> Self {
        let turn = std::f64::consts::TAU / period.max(1) as f64;
        self.change(.., |i, value| value + (i as f64 * turn).sin() * amplitude)
    }

    /// Adds a trend that grows by `a_sample` with every sample.
    #[must_use]
    pub fn trend(self, a_sample: f64) -> Self {
        self.change(.., |i, value| value + i as f64 * a_sample)
    }

    /// Adds `by` to all samples in a range of indices.
    #[must_use]
    pub fn shift(self, range: impl RangeBounds<usize>, by: f64) -> Self {
        self.change(range, |_, value| value + by)
    }

    /// Adds `by` to one sample.
    #[must_use]
    pub fn spike(self, at: usize, by: f64) -> Self {
        self.shift(at..=at, by)
    }

    /// Sets all samples in a range of indices to `value`: an outage, or a sensor that is stuck.
    #[must_use]
    pub fn stuck(self, range: impl RangeBounds<usize>, value: f64) -> Self {
        self.change(range, |_, _| value)
    }

    /// Adds a gap of `ms` milliseconds before one sample, in addition to the usual interval.
    #[must_use]
    pub fn gap(mut self, before: usize, ms: u32) -> Self {
        for (at, _) in self.samples.iter_mut().skip(before) {
            *at += i64::from(ms);
        }
        self
    }

    /// Replaces each value in a range of indices with the result of `change`.
    #[must_use]
    pub fn change(
        mut self,
        range: impl RangeBounds<usize>,
        change: impl Fn(usize, f64) -> f64,
    ) -> Self {
        let begin = match range.start_bound() {
            Bound::Included(begin) => *begin,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        for (i, (_, value)) in self.samples.iter_mut().enumerate().skip(begin) {
            if !range.contains(&i) {
                break;
            }
            *value = change(i, *value);
        }
        self
    }

    /// Returns the samples for a detector.
    pub fn samples(self) -> Vec<(UnixMs, f64)> {
        self.samples
    }
}

/// Returns a series of up to 600 samples that the seed determines: noise, a rhythm, a trend, level
/// shifts, spikes, outages, gaps, zeros, constants, or the largest and smallest values that there
/// are.
pub fn any(seed: u64) -> Vec<(UnixMs, f64)> {
    let mut random = Random::new(seed);
    let length = 1 + random.below(600);
    let scale = [
        1e-300,
        1e-6,
        1.0,
        1.0,
        100.0,
        1e6,
        9_007_199_254_740_992.0,
        1e300,
    ][random.below(8)];
    let mean = [0.0, 0.0, 1.0, 10.0, -10.0][random.below(5)] * scale;
    let deviation = [0.0, 0.01, 0.1, 1.0][random.below(4)] * scale;
    let mut series = Series::noise(random.bits(), length, mean, deviation);
    for _ in 0..random.below(5) {
        let (from, lasts) = (random.below(length), 1 + random.below(60));
        let by = (random.share() - 0.5) * 40.0 * scale;
        series = match random.below(7) {
            0 => series.season(2 + random.below(100), by),
            1 => series.trend(by / 100.0),
            2 => series.shift(from.., by),
            3 => series.shift(from..from + lasts, by),
            4 => series.spike(from, by),
            5 => series.stuck(from..from + lasts, 0.0),
            _ => series.gap(from, random.below(100_000_000) as u32),
        };
    }
    series
        .change(.., |_, value| value.clamp(f64::MIN, f64::MAX))
        .samples()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_seed_the_samples_keep_the_contract() {
        for seed in 0..2000 {
            let samples = any(seed);
            assert!(
                !samples.is_empty() && samples.iter().all(|(_, value)| value.is_finite()),
                "seed {seed}"
            );
            assert!(
                samples.windows(2).all(|two| two[0].0 < two[1].0),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_series_is_made_of_its_parts() {
        let values = |series: Series| {
            series
                .samples()
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(Series::of([1.0; 4]).shift(2.., 5.0).spike(0, 1.0)),
            [2.0, 1.0, 6.0, 6.0]
        );
        assert_eq!(
            values(Series::of([1.0; 4]).trend(1.0).stuck(1..3, 0.0)),
            [1.0, 0.0, 0.0, 4.0]
        );
        let rhythm = values(Series::of([0.0; 5]).season(4, 2.0));
        assert!(
            (rhythm[1] - 2.0).abs() < 1e-9 && (rhythm[3] + 2.0).abs() < 1e-9,
            "{rhythm:?}"
        );
        let times: Vec<i64> = Series::of([0.0; 3])
            .gap(1, 5)
            .samples()
            .iter()
            .map(|(at, _)| at - BEGIN)
            .collect();
        assert_eq!(times, [0, 15_005, 30_005]);
    }

    #[test]
    fn noise_has_the_mean_and_the_deviation_that_were_asked_for() {
        let samples = Series::noise(3, 10_000, 50.0, 4.0).samples();
        let mean = samples.iter().map(|(_, value)| value).sum::<f64>() / 1e4;
        let variance = samples
            .iter()
            .map(|(_, value)| (value - mean).powi(2))
            .sum::<f64>()
            / 1e4;
        assert!(
            (mean - 50.0).abs() < 0.2 && (variance.sqrt() - 4.0).abs() < 0.2,
            "{mean} ± {}",
            variance.sqrt()
        );
    }
}
