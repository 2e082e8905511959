//! Standard deviation of the last 48 samples.

use serde::{Deserialize, Serialize};

const WINDOW: usize = 48;

/// Standard deviation from running sums over a ring. The sums are computed anew with every round of
/// the ring. This removes rounding errors and the traces of outliers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Spread {
    values: Vec<f64>,
    oldest: usize,
    /// Value from which the distances in the sums are measured.
    shift: f64,
    sum: f64,
    squares: f64,
}

impl Spread {
    pub(crate) fn new() -> Self {
        Self {
            values: Vec::new(),
            oldest: 0,
            shift: 0.0,
            sum: 0.0,
            squares: 0.0,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        self.values.len() <= WINDOW && self.oldest < WINDOW
    }

    /// Adds a value and returns the standard deviation, which includes the value.
    pub(crate) fn observe(&mut self, value: f64) -> f64 {
        let come = value - self.shift;
        let full = self.values.len() == WINDOW;
        match self.values.get_mut(self.oldest) {
            Some(place) if full => {
                let gone = std::mem::replace(place, value) - self.shift;
                self.sum += come - gone;
                self.squares += (come - gone) * (come + gone);
            }
            _ => {
                if self.values.is_empty() {
                    self.values.reserve_exact(WINDOW);
                }
                self.values.push(value);
                self.sum += come;
                self.squares += come * come;
            }
        }
        self.oldest += 1;
        if self.oldest >= WINDOW {
            self.oldest = 0;
        }
        if self.oldest == 0 || self.values.len() < WINDOW {
            self.sum_anew(value);
        }
        let count = self.values.len() as f64;
        let variance = (self.squares - self.sum * self.sum / count) / count;
        if variance > 0.0 { variance.sqrt() } else { 0.0 }
    }

    /// Computes the sums anew, as distances from `shift`. `shift` is a member of the window, so
    /// that the distances of equal values are 0 to the last bit.
    #[cold]
    fn sum_anew(&mut self, shift: f64) {
        (self.shift, self.sum, self.squares) = (shift, 0.0, 0.0);
        for value in &self.values {
            let distance = value - shift;
            self.sum += distance;
            self.squares += distance * distance;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_deviation_of_the_last_48() {
        let mut spread = Spread::new();
        let values: Vec<f64> = (0..500).map(|i| 1e6 + f64::from(i * i % 89)).collect();
        for (i, value) in values.iter().enumerate() {
            let found = spread.observe(*value);
            let last = &values[(i + 1).saturating_sub(WINDOW)..=i];
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            let variance =
                last.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / last.len() as f64;
            assert!(
                (found - variance.sqrt()).abs() < 1e-6,
                "{i}: {found} {}",
                variance.sqrt()
            );
        }
    }

    #[test]
    fn of_equal_values_it_is_nothing() {
        let mut spread = Spread::new();
        (0..100).for_each(|i| assert_eq!(spread.observe(0.1), 0.0, "{i}"));
    }
}
