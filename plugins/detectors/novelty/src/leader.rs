//! One way to see a series: prototypes of what its last samples looked like, led by what comes.

use serde::{Deserialize, Serialize};

use crate::lens::Lens;
use crate::scale::Scale;

/// How many prototypes there are at most (K).
const PROTOTYPES: usize = 48;
/// Room for so many more at a time.
const MORE: usize = 16;
/// Further than this from all prototypes, as a share of the scale, makes a new one.
const NEW: f64 = 0.05;
/// How fast a prototype follows what it explains.
const FOLLOW: f32 = 0.02;
/// A prototype of less than so many samples ago is part of what is going on, and does not explain it away.
pub(crate) const OLD: u32 = 100;

/// f = (least, largest, mean) of the last w values of y; its distance to the nearest of K prototypes is the score:
/// d = min_k ‖f − c_k‖ / (√3·S), with S the [`Scale`] of y. If d > 0.05, f becomes a prototype, in place of the one that was not
/// needed for longest; else the nearest moves towards f by a fiftieth.
#[derive(Serialize, Deserialize)]
pub(crate) struct Leader {
    scale: Scale,
    lens: Lens,
    /// The last w values, through the lens; a ring.
    values: Vec<f32>,
    window: u8,
    oldest: u8,
    /// Where the prototype is that was nearest last: mostly it is again.
    nearest: u8,
    prototypes: Vec<Prototype>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Prototype {
    looks: Looks,
    /// When it explained a sample last, and when it was made: counted in samples.
    used: u32,
    born: u32,
}

/// What the last samples look like, through the lens.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Looks {
    low: f32,
    high: f32,
    mean: f32,
}

impl Looks {
    /// The square of the distance, or anything that is not below `limit`.
    #[inline]
    fn square(self, other: Self, limit: f32) -> f32 {
        let mean = self.mean - other.mean;
        let square = mean * mean;
        // Most prototypes are out of question by their mean alone.
        if square < limit {
            let (low, high) = (self.low - other.low, self.high - other.high);
            square + low * low + high * high
        } else {
            square
        }
    }
}

impl Leader {
    pub(crate) fn new(window: u8) -> Self {
        Self {
            scale: Scale::new(),
            lens: Lens::new(),
            values: Vec::new(),
            window,
            oldest: 0,
            nearest: 0,
            prototypes: Vec::new(),
        }
    }

    /// Whether it can be one with that window.
    pub(crate) fn fits(&self, window: u8) -> bool {
        self.window == window
            && self.values.len() <= usize::from(window)
            && self.oldest < window
            && self.prototypes.len() <= PROTOTYPES
            && self.lens.is_sound()
    }

    /// How far the last samples, with this one, are from all prototypes: 0.05 is new. `floor` is the least difference that is
    /// more than rounding.
    #[inline]
    pub(crate) fn observe(&mut self, now: u32, value: f64, floor: f64) -> f64 {
        let square = self.scale.observe(value);
        let lens_square = self.lens.square_of(square);
        if !(Lens::SHARP.contains(&lens_square) && self.lens.is_near(self.scale.mean(), square)) {
            self.refocus(value, square);
        }
        self.push(value);
        if self.values.len() < usize::from(self.window) || square <= floor * floor {
            return 0.0;
        }
        let unit = 3.0 * self.lens.square_of(square);
        let looks = self.looks();
        let (nearest, least) = self.nearest(looks);
        let distance = (f64::from(least) / unit).sqrt();
        if distance <= NEW {
            let prototype = &mut self.prototypes[nearest];
            let of = &mut prototype.looks;
            of.low += FOLLOW * (looks.low - of.low);
            of.high += FOLLOW * (looks.high - of.high);
            of.mean += FOLLOW * (looks.mean - of.mean);
            prototype.used = now;
            self.nearest = nearest as u8;
        } else {
            self.learn(Prototype { looks, used: now, born: now });
        }
        distance
    }

    /// The distance to what was known before the present affair began.
    pub(crate) fn distance_from_old(&self, now: u32) -> f64 {
        let unit = 3.0 * self.lens.square_of(self.scale.square());
        if self.values.len() < usize::from(self.window) || unit <= 0.0 {
            return 0.0;
        }
        let looks = self.looks();
        let old = self.prototypes.iter().filter(|prototype| now.wrapping_sub(prototype.born) >= OLD);
        let least = old.fold(f32::INFINITY, |least, prototype| {
            let square = prototype.looks.square(looks, least);
            if square < least { square } else { least }
        });
        (f64::from(least) / unit).sqrt()
    }

    /// Infinitely far while there is none.
    #[inline]
    fn nearest(&self, looks: Looks) -> (usize, f32) {
        let mut nearest = usize::from(self.nearest);
        let mut least =
            self.prototypes.get(nearest).map_or(f32::INFINITY, |last| last.looks.square(looks, f32::INFINITY));
        for (index, prototype) in self.prototypes.iter().enumerate() {
            let square = prototype.looks.square(looks, least);
            if square < least {
                (nearest, least) = (index, square);
            }
        }
        (nearest, least)
    }

    #[cold]
    fn learn(&mut self, prototype: Prototype) {
        if self.prototypes.len() < PROTOTYPES {
            if self.prototypes.len() == self.prototypes.capacity() {
                self.prototypes.reserve_exact(MORE);
            }
            self.nearest = self.prototypes.len() as u8;
            self.prototypes.push(prototype);
            return;
        }
        let now = prototype.used;
        let unused = |prototype: &Prototype| now.wrapping_sub(prototype.used);
        if let Some((index, place)) = self.prototypes.iter_mut().enumerate().max_by_key(|(_, other)| unused(other)) {
            *place = prototype;
            self.nearest = index as u8;
        }
    }

    #[inline]
    fn push(&mut self, value: f64) {
        let value = self.lens.see(value);
        let full = self.values.len() == usize::from(self.window);
        match self.values.get_mut(usize::from(self.oldest)) {
            Some(place) if full => *place = value,
            _ => {
                if self.values.is_empty() {
                    self.values.reserve_exact(usize::from(self.window));
                }
                self.values.push(value);
            }
        }
        self.oldest += 1;
        if self.oldest >= self.window {
            self.oldest = 0;
        }
    }

    #[inline]
    fn looks(&self) -> Looks {
        let (mut low, mut high, mut sum) = (f32::INFINITY, f32::NEG_INFINITY, 0.0);
        for &value in &self.values {
            // `f32::min` would be a call in WebAssembly.
            low = if value < low { value } else { low };
            high = if value > high { value } else { high };
            sum += value;
        }
        Looks { low, high, mean: sum / self.values.len() as f32 }
    }

    /// The series is elsewhere, or on another scale, than the lens was made for.
    #[cold]
    fn refocus(&mut self, value: f64, square: f64) {
        let before = self.lens;
        // Of a constant there is nothing to be told apart: it is where it is.
        let anchor = if square > 0.0 { self.scale.mean() } else { value };
        self.lens = Lens::at(anchor, square.sqrt());
        let lens = self.lens;
        let again = |seen: &mut f32| *seen = lens.see(before.back(*seen));
        self.values.iter_mut().for_each(again);
        for Prototype { looks, .. } in &mut self.prototypes {
            [&mut looks.low, &mut looks.high, &mut looks.mean].into_iter().for_each(again);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(window: u8, values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut leader = Leader::new(window);
        (0..).zip(values).map(|(now, value)| leader.observe(now, value, 0.0)).collect()
    }

    #[test]
    fn the_distance_is_that_of_the_equation() {
        // Window 1: f = (y, y, y), so that d = |y − c| / S. The scale is the range, as 16 σ is more.
        let found = distances(1, [0.0, 10.0, 0.0, 10.0, 4.0]);
        assert_eq!(found[0], 0.0, "nothing to compare with, and no scale");
        assert!(found[1].is_infinite(), "there is no prototype yet");
        assert!((found[2] - 1.0).abs() < 1e-6 && found[3] < 1e-6, "{found:?}");
        assert!((found[4] - 0.4).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn what_was_seen_is_known_however_long_ago() {
        let wave = |i: usize| ((i % 50) as f64 / 50.0 * std::f64::consts::TAU).sin();
        let found = distances(6, (0..5000).map(wave));
        assert!(found[100..].iter().all(|distance| *distance <= NEW));
    }

    #[test]
    fn the_same_series_elsewhere_and_larger_is_as_new() {
        let values = |i: u32| f64::from(i * i % 97);
        let here = distances(6, (0..2000).map(values));
        for (at, times) in [(1e9, 1.0), (0.0, 1e140), (-3e-120, 1e-120), (9_007_199_254_740_992.0, 1e6)] {
            let there = distances(6, (0..2000).map(|i| at + times * values(i)));
            let far = here.iter().zip(&there).filter(|(a, b)| a.min(1e9) - b.min(1e9) > 1e-3).count();
            assert!(far < 20, "{at} {times}: {far}");
        }
    }

    #[test]
    fn while_something_goes_on_only_what_is_old_explains_it() {
        let mut leader = Leader::new(1);
        let wave = |i: u32| f64::from(i % 10);
        let mut now = 0;
        for i in 0..300 {
            leader.observe(i, wave(i), 0.0);
            now = i;
        }
        for i in 1..=99 {
            let distance = leader.observe(now + i, 30.0, 0.0);
            assert!(i == 1 || distance < NEW, "it is known at once");
            assert!(leader.distance_from_old(now + i) > NEW, "but was not before");
        }
        leader.observe(now + 110, 30.0, 0.0);
        assert!(leader.distance_from_old(now + 110) < NEW);
    }
}
