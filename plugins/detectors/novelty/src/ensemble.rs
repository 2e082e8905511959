//! The seven views of a series and the five deviations, and what they come to.

use anomalyzer_plugin_sdk::{Range, UnixMs};
use serde::{Deserialize, Serialize};

use crate::deviation::Deviation;
use crate::leader::Leader;
use crate::profile::Profile;
use crate::spread::Spread;

/// What a view is of, and over how many samples.
pub(crate) const VIEWS: [(&str, u8); 7] = [
    ("the last 24 samples", 24),
    ("the last 6 samples", 6),
    ("12 samples against the slow average", 12),
    ("the hour of the week", 1),
    ("12 samples against the hour of the week", 12),
    ("the spread of 48 samples", 1),
    ("the smoothed course", 24),
];

/// A distance counts as at most this: one view alone never makes an alarm.
const FURTHEST: f64 = 0.1;
/// Further than this a view finds the sample new.
const NEW: f64 = 0.05;
/// The mean distance that is the threshold. With `DEVIATIONS`, the best one for the files of the benchmark at even places in the order
/// of their names, rounded; the others had no say.
const THRESHOLD: f64 = 0.0433;
/// What the mean logarithm of the deviations weighs beside the distances, in thresholds.
const DEVIATIONS: f64 = 0.125;
/// A range below this share of the largest value may be nothing but rounding.
const ROUNDING: f64 = 1e-12;
/// Values beyond are taken for this: the squares of their differences are finite.
const LARGEST: f64 = 1e150;

/// How fast the averages follow: the slow one, the smooth one, and the one whose deviation is looked at.
const SLOW: f64 = 0.01;
const SMOOTH: f64 = 0.1;
const SLOWEST: f64 = 0.005;

/// All that is learnt of one series.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ensemble {
    leaders: [Leader; VIEWS.len()],
    /// Of |x − slow average|, |x − the hour's value|, |x − the one before|, the spread, and the slowest average.
    deviations: [Deviation; 5],
    profile: Profile,
    spread: Spread,
    averages: Option<Averages>,
    /// Samples seen. It may wrap.
    now: u32,
    /// The least and the largest x.
    seen: (f64, f64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Averages {
    slow: f64,
    smooth: f64,
    slowest: f64,
    last: f64,
}

/// What was seen of one sample.
pub(crate) struct Sight {
    /// The distance in each view, at most `FURTHEST`.
    distances: [f64; VIEWS.len()],
    /// The mean of log(1 + z).
    deviations: f64,
    /// Where the sample was expected, before it was seen.
    about: About,
}

struct About {
    slow: (f64, Deviation),
    hour: Option<(f64, Deviation)>,
    seen: (f64, f64),
}

/// What was expected, and by what.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) range: Range,
    pub(crate) source: &'static str,
}

impl Ensemble {
    pub(crate) fn new() -> Self {
        Self {
            leaders: VIEWS.map(|(_, window)| Leader::new(window)),
            deviations: [Deviation::new(); 5],
            profile: Profile::new(),
            spread: Spread::new(),
            averages: None,
            now: 0,
            seen: (f64::INFINITY, f64::NEG_INFINITY),
        }
    }

    /// Whether it is one that this version can go on with.
    pub(crate) fn fits(&self) -> bool {
        self.profile.fits()
            && self.spread.fits()
            && self.leaders.iter().zip(VIEWS).all(|(leader, (_, window))| leader.fits(window))
    }

    /// Judges a sample by those before it, then learns it.
    pub(crate) fn observe(&mut self, at: UnixMs, value: f64) -> Sight {
        let x = value.clamp(-LARGEST, LARGEST);
        let before = self.averages.unwrap_or(Averages { slow: x, smooth: x, slowest: x, last: x });
        let usual = self.profile.observe(at, x);
        let [of_slow, of_hour, ..] = self.deviations;
        let about = About { slow: (before.slow, of_slow), hour: usual.map(|usual| (usual, of_hour)), seen: self.seen };
        let (least, largest) = self.seen;
        self.seen = (if x < least { x } else { least }, if x > largest { x } else { largest });
        let averages = Averages {
            slow: before.slow + SLOW * (x - before.slow),
            smooth: before.smooth + SMOOTH * (x - before.smooth),
            slowest: before.slowest + SLOWEST * (x - before.slowest),
            last: x,
        };
        self.averages = Some(averages);
        self.now = self.now.wrapping_add(1);

        let from_hour = usual.map_or(0.0, |usual| x - usual);
        let spread = self.spread.observe(x);
        let views = [x, x, x - averages.slow, from_hour, from_hour, spread, averages.smooth];
        let floor = (if -self.seen.0 > self.seen.1 { -self.seen.0 } else { self.seen.1 }) * ROUNDING;
        let mut distances = [0.0; VIEWS.len()];
        for ((distance, leader), view) in distances.iter_mut().zip(&mut self.leaders).zip(views) {
            *distance = at_most(leader.observe(self.now, view, floor));
        }

        let parts = [(x - before.slow).abs(), from_hour.abs(), (x - before.last).abs(), spread, averages.slowest];
        let mut deviations = 0.0;
        for (deviation, part) in self.deviations.iter_mut().zip(parts) {
            let z = deviation.above(part);
            // The logarithm is what costs, and most samples are below the mean.
            if z > 0.0 {
                deviations += z.ln_1p();
            }
        }
        Sight { distances, deviations: deviations / parts.len() as f64, about }
    }

    /// The score of the sample just seen, if nothing had been learnt lately.
    pub(crate) fn lasting(&self, sight: &Sight) -> f64 {
        let distances = self.leaders.each_ref().map(|leader| at_most(leader.distance_from_old(self.now)));
        score(&distances, sight.deviations)
    }
}

impl Sight {
    /// mean_i min(d_i, 0.1) / 0.0433 + 0.125 · mean_j log(1 + z_j): 1 is the threshold.
    pub(crate) fn score(&self) -> f64 {
        score(&self.distances, self.deviations)
    }

    /// The views that find it new, the most surprised first.
    pub(crate) fn surprised(&self) -> Vec<&'static str> {
        let mut views: Vec<_> = self.distances.iter().zip(VIEWS).filter(|(distance, _)| **distance > NEW).collect();
        views.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        views.into_iter().map(|(_, (name, _))| name).collect()
    }

    /// The narrower of two ranges: about the slow average, and about what is usual at that hour of the week. Three
    /// deviations of the distance wide on either side; what was never negative, or never positive, is not expected to become so.
    pub(crate) fn expected(&self) -> Expected {
        let about = |(centre, off): (f64, Deviation), source| {
            let off = off.usual();
            let (least, largest) = self.about.seen;
            let low = if least >= 0.0 { (centre - off).max(0.0) } else { centre - off };
            let high = if largest <= 0.0 { (centre + off).min(0.0) } else { centre + off };
            Expected { range: Range { low, high }, source }
        };
        let slow = about(self.about.slow, "about the slow average");
        match self.about.hour.map(|hour| about(hour, "at this hour of the week")) {
            Some(hour) if hour.range.high - hour.range.low < slow.range.high - slow.range.low => hour,
            _ => slow,
        }
    }
}

/// Also what is infinitely far, for want of anything to compare with.
#[inline]
fn at_most(distance: f64) -> f64 {
    if distance < FURTHEST { distance } else { FURTHEST }
}

#[inline]
fn score(distances: &[f64; VIEWS.len()], deviations: f64) -> f64 {
    distances.iter().sum::<f64>() / VIEWS.len() as f64 / THRESHOLD + DEVIATIONS * deviations
}
