//! Last samples of a series, with their mean and variance.

use serde::{Deserialize, Serialize};

/// Ring of n samples with two running sums over their distances from `shift`, a value near their
/// mean. The sums are over the distances (S) and over their squares (Q). The variance is (n·Q − S²)
/// / n². The window keeps and returns it multiplied by n² (`spread`), so that a quiet sample costs
/// neither a division nor a root.
///
/// Running sums lose digits when the values in them shrink. The window therefore sums anew every
/// few rounds of the ring. It also sums anew as soon as the variance falls below the possible
/// rounding of the largest sum since then (a spike leaves the window, a series falls quiet). A
/// window of equal values therefore has a variance of exactly 0.
///
/// The hot path is `distance` and `push`. They have few floating-point operations, because each
/// costs more in a sandbox that makes all NaNs equal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Window {
    values: Vec<f64>,
    size: usize,
    /// Index of the oldest value, once the ring is full.
    oldest: usize,
    rounds: u32,
    /// Number of samples n.
    length: f64,
    shift: f64,
    sum: f64,
    squares: f64,
    /// n·Q − S².
    spread: f64,
    /// Largest `squares` since the sums were computed anew.
    largest: f64,
    /// Spread below which the value may be only rounding.
    doubtful: f64,
}

/// Number of rounds of the ring between two new sums. They add at most 16 · size roundings (2⁻⁵³
/// each) of the largest sum.
const ROUNDS: u32 = 16;

/// Share of the largest sum of squares below which these roundings might show in the deviation.
const DOUBTFUL_SHARE: f64 = 1e-6;

impl Window {
    /// Makes an empty window for `size` samples.
    pub fn new(size: usize) -> Self {
        Self {
            values: Vec::new(),
            size,
            oldest: 0,
            rounds: 0,
            length: 0.0,
            shift: 0.0,
            sum: 0.0,
            squares: 0.0,
            spread: 0.0,
            largest: 0.0,
            doubtful: 0.0,
        }
    }

    /// Returns true if the saved state can be a window of that size. The sums are not checked.
    pub fn fits(&self, size: usize) -> bool {
        let values = self.values.len();
        let place = if values < size {
            self.oldest == 0
        } else {
            self.oldest < size
        };
        self.size == size
            && values <= size
            && place
            && self.rounds < ROUNDS
            && self.length == values as f64
    }

    /// Returns the number of samples (n).
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns true if there is no sample.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns n times the distance of a value from the mean.
    #[inline]
    pub fn distance(&self, value: f64) -> f64 {
        self.length * (value - self.shift) - self.sum
    }

    /// Returns n² times the population variance.
    #[inline]
    pub fn spread(&self) -> f64 {
        self.spread
    }

    /// Returns n times the mean, and n.
    #[inline]
    pub fn times_length(&self) -> (f64, f64) {
        (self.length * self.shift + self.sum, self.length)
    }

    /// Returns the mean and the population standard deviation. Both are meaningless while the
    /// window is empty.
    pub fn mean_and_deviation(&self) -> (f64, f64) {
        (
            self.shift + self.sum / self.length,
            self.spread.max(0.0).sqrt() / self.length,
        )
    }

    /// Adds a sample. It replaces the oldest sample if the window is full.
    #[inline]
    pub fn push(&mut self, value: f64) {
        if self.values.len() < self.size {
            self.grow(value);
            return;
        }
        let Some(place) = self.values.get_mut(self.oldest) else {
            return;
        };
        let gone = std::mem::replace(place, value) - self.shift;
        let come = value - self.shift;
        // come² − gone² = (come − gone)(come + gone).
        let more = come - gone;
        self.sum += more;
        self.squares += more * (come + gone);
        self.oldest += 1;
        if self.oldest == self.size {
            self.oldest = 0;
            self.rounds += 1;
        }
        self.judge(self.rounds >= ROUNDS);
    }

    #[inline(never)]
    fn grow(&mut self, value: f64) {
        if self.values.is_empty() {
            self.shift = value;
        }
        self.values.push(value);
        self.length = self.values.len() as f64;
        let distance = value - self.shift;
        self.sum += distance;
        self.squares += distance * distance;
        self.judge(false);
    }

    #[inline]
    fn judge(&mut self, anew: bool) {
        if self.squares > self.largest {
            self.largest = self.squares;
            self.doubtful = self.length * self.squares * DOUBTFUL_SHARE;
        }
        self.spread = self.length * self.squares - self.sum * self.sum;
        if anew || self.spread < self.doubtful {
            self.sum_anew();
        }
    }

    #[cold]
    #[inline(never)]
    fn sum_anew(&mut self) {
        // The distances from a member of the window are 0 to the last bit if all values are equal.
        let near = self.values.first().copied().unwrap_or_default();
        self.shift = near + self.values.iter().map(|value| value - near).sum::<f64>() / self.length;
        (self.sum, self.squares) = (0.0, 0.0);
        for value in &self.values {
            let distance = value - self.shift;
            self.sum += distance;
            self.squares += distance * distance;
        }
        self.rounds = 0;
        self.largest = self.squares;
        self.doubtful = self.length * self.squares * DOUBTFUL_SHARE;
        self.spread = self.length * self.squares - self.sum * self.sum;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plainly(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn equal_values_have_a_deviation_of_exactly_zero_whatever_was_before() {
        let mut window = Window::new(60);
        for value in [0.1, 1e12, -3.0, 7.7e-5] {
            for _ in 0..60 {
                window.push(value);
            }
            assert_eq!(window.mean_and_deviation(), (value, 0.0));
        }
    }

    #[test]
    fn a_huge_value_leaves_no_trace_when_it_is_gone() {
        let mut window = Window::new(10);
        for i in 0..40 {
            window.push(if i == 23 { 1e15 } else { f64::from(i % 2) });
            if i >= 33 || (10..23).contains(&i) {
                let (mean, deviation) = window.mean_and_deviation();
                assert!(
                    (mean - 0.5).abs() < 1e-9 && (deviation - 0.5).abs() < 1e-9,
                    "{i}: {mean} {deviation}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn mean_and_deviation_are_those_of_the_last_values(
            values in prop::collection::vec(prop_oneof![-1e3..1e3, 1e6..1.001e6, Just(5.0), -1e9..1e9], 1..300),
            size in 2usize..80,
        ) {
            let mut window = Window::new(size);
            for (i, value) in values.iter().enumerate() {
                window.push(*value);
                let last = &values[(i + 1).saturating_sub(size)..=i];
                let (mean, deviation) = plainly(last);
                let (found_mean, found) = window.mean_and_deviation();
                let scale = last.iter().fold(0.0f64, |most, value| most.max(value.abs()));
                prop_assert!((found_mean - mean).abs() <= 1e-11 * scale, "{found_mean} {mean}");
                prop_assert!((found - deviation).abs() <= 1e-7 * deviation + 1e-11 * scale, "{found} {deviation}");
            }
        }
    }
}
