//! Means over the last minutes and days, in slots of time.

use anomalyzer_plugin_sdk::UnixMs;
use serde::{Deserialize, Serialize};

/// Ring of slots, each with the mean of the samples in `width` milliseconds. The closed slots of
/// each window are summed up once a slot. A sample then costs only the update of the present slot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Slots {
    width: i64,
    /// Mean of each slot. NaN if the slot has no sample.
    means: Vec<f64>,
    /// Number of the slot that is being filled, counted from 1970.
    present: i64,
    samples: f64,
    mean: f64,
    /// Share of the present slot that has gone by.
    gone_by: f64,
    /// Sum and number of the closed slots of each window.
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Window {
    slots: usize,
    sum: f64,
    known: u32,
}

impl Slots {
    /// Makes slots of `width` milliseconds. Each item of `windows` is a number of closed slots.
    pub(crate) fn new(width: i64, windows: &[usize]) -> Self {
        let most = windows.iter().copied().max().unwrap_or_default();
        let windows = windows
            .iter()
            .map(|&slots| Window {
                slots,
                sum: 0.0,
                known: 0,
            })
            .collect();
        Self {
            width,
            means: vec![f64::NAN; most],
            present: i64::MIN,
            samples: 0.0,
            mean: 0.0,
            gone_by: 0.0,
            windows,
        }
    }

    pub(crate) fn fits(&self, like: &Self) -> bool {
        let same = |(a, b): (&Window, &Window)| a.slots == b.slots;
        self.width == like.width
            && self.means.len() == like.means.len()
            && self.windows.len() == like.windows.len()
            && self.windows.iter().zip(&like.windows).all(same)
    }

    pub(crate) fn observe(&mut self, at: UnixMs, value: f64) {
        let slot = at.div_euclid(self.width);
        if slot != self.present {
            self.turn_to(slot);
        }
        self.gone_by = at.rem_euclid(self.width) as f64 / self.width as f64;
        self.samples += 1.0;
        self.mean += (value - self.mean) / self.samples;
    }

    /// Closes the present slot. The slots between it and `slot` stay empty.
    #[cold]
    fn turn_to(&mut self, slot: i64) {
        let count = self.means.len() as i64;
        if self.samples > 0.0 {
            let place = self.place(self.present);
            self.means[place] = self.mean;
        }
        let skipped = slot
            .saturating_sub(self.present)
            .saturating_sub(1)
            .clamp(0, count);
        for empty in 0..skipped {
            let place = self.place(slot - 1 - empty);
            self.means[place] = f64::NAN;
        }
        (self.present, self.samples, self.mean) = (slot, 0.0, 0.0);
        for index in 0..self.windows.len() {
            let slots = self.windows[index].slots as i64;
            let known = (1..=slots)
                .map(|back| self.means[self.place(slot - back)])
                .filter(|mean| !mean.is_nan());
            let (sum, known) = known.fold((0.0, 0), |(sum, known), mean| (sum + mean, known + 1));
            self.windows[index] = Window {
                sum,
                known,
                ..self.windows[index]
            };
        }
    }

    fn place(&self, slot: i64) -> usize {
        slot.rem_euclid(self.means.len().max(1) as i64) as usize
    }

    /// Returns the mean over a window, and the share of its slots that is known. The mean includes
    /// the present slot, by the share of it that has gone by.
    pub(crate) fn mean(&self, window: usize) -> (f64, f64) {
        let Some(Window { slots, sum, known }) = self.windows.get(window).copied() else {
            return (0.0, 0.0);
        };
        let known = f64::from(known);
        let mean = if known > 0.0 {
            (sum + self.mean * self.gone_by) / (known + self.gone_by)
        } else {
            self.mean
        };
        (mean, known / slots as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_time_not_of_samples() {
        let mut slots = Slots::new(1000, &[2, 4]);
        slots.observe(0, 1.0);
        (0..10).for_each(|i| slots.observe(1000 + i * 50, 4.0));
        slots.observe(1500, 4.0);
        assert_eq!(
            [0, 1].map(|window| slots.mean(window)),
            [(2.0, 0.5), (2.0, 0.25)],
            "half of the second slot"
        );
        slots.observe(2000, 7.0);
        assert_eq!(slots.mean(0), (2.5, 1.0));
        slots.observe(3000, 0.0);
        assert_eq!(
            [0, 1].map(|window| slots.mean(window)),
            [(5.5, 1.0), (4.0, 0.75)]
        );
        // After a gap, samples that are older than the window are gone.
        slots.observe(6000, 2.0);
        assert_eq!(
            [0, 1].map(|window| slots.mean(window)),
            [(2.0, 0.0), (3.5, 0.5)]
        );
        slots.observe(1_000_000, 5.0);
        assert_eq!(slots.mean(1), (5.0, 0.0));
    }
}
