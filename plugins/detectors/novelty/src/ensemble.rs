//! Ensemble of seven views of a series and five deviations, and the score that they make.

use anomalyzer_plugin_sdk::{Range, UnixMs};
use serde::{Deserialize, Serialize};

use crate::deviation::Deviation;
use crate::leader::{Leader, NEW_PROTOTYPE_DISTANCE};
use crate::lens::Lens;
use crate::profile::Profile;
use crate::spread::Spread;
use crate::stream::Stream;

/// Number of figures that the views look at. They are x, its distance from the slow average, its
/// distance from the usual value at that hour of the week, its spread, and the smooth average.
const STREAMS: usize = 5;

/// View of one of these figures.
pub(crate) struct View {
    name: &'static str,
    stream: usize,
    window: u8,
}

pub(crate) const VIEWS: [View; 7] = [
    View {
        name: "the last 24 samples",
        stream: 0,
        window: 24,
    },
    View {
        name: "the last 6 samples",
        stream: 0,
        window: 6,
    },
    View {
        name: "12 samples against the slow average",
        stream: 1,
        window: 12,
    },
    View {
        name: "the hour of the week",
        stream: 2,
        window: 1,
    },
    View {
        name: "12 samples against the hour of the week",
        stream: 2,
        window: 12,
    },
    View {
        name: "the spread of 48 samples",
        stream: 3,
        window: 1,
    },
    View {
        name: "the smoothed course",
        stream: 4,
        window: 24,
    },
];

/// Maximum distance in one view. One view alone therefore never makes an alarm.
const FURTHEST: f64 = 0.1;
/// Mean distance that is the threshold. `THRESHOLD` and `DEVIATIONS` are together the best pair,
/// rounded, for the benchmark files at even places in the order of their names. The other files had
/// no influence.
const THRESHOLD: f64 = 0.0433;
/// Weight of the mean logarithm of the deviations beside the distances, in thresholds.
const DEVIATIONS: f64 = 0.125;
/// Share of the largest value below which a range may be only rounding.
const ROUNDING: f64 = 1e-12;
/// Largest absolute value. Larger values are clamped to it, so that the squares of differences stay
/// finite.
const LARGEST: f64 = 1e150;

/// Maximum of one deviation. The product of five deviations then stays finite.
const MOST_DEVIATIONS: f64 = 1e50;
/// Rate at which the scales forget.
const SCALES: f64 = 0.001;
/// Rates of the averages: the slow one, the smooth one, and the one whose deviation is measured.
const SLOW: f64 = 0.01;
const SMOOTH: f64 = 0.1;
const SLOWEST: f64 = 0.005;

/// Everything that is learnt of one series.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ensemble {
    streams: [Stream; STREAMS],
    leaders: [Leader; VIEWS.len()],
    /// 1 / number of samples seen, but at least `SCALES`. 2 before the first sample.
    rate: f64,
    /// Deviations of |x − slow average|, |x − the hour's value|, |x − the value before|, the
    /// spread, and the slowest average.
    deviations: [Deviation; 5],
    profile: Profile,
    spread: Spread,
    averages: Option<Averages>,
    /// Number of samples seen. It may wrap.
    now: u32,
    /// Smallest and largest x.
    seen: (f64, f64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Averages {
    slow: f64,
    smooth: f64,
    slowest: f64,
    last: f64,
}

impl Averages {
    fn is_sound(&self) -> bool {
        [self.slow, self.smooth, self.slowest, self.last]
            .iter()
            .all(|average| average.is_finite())
    }
}

/// Judgement of one sample.
pub(crate) struct Sight {
    /// Distance in each view, at most `FURTHEST`.
    distances: [f64; VIEWS.len()],
    /// Mean of log(1 + z).
    deviations: f64,
    /// Expectation for the sample, from before it was seen.
    about: About,
}

struct About {
    slow: (f64, Deviation),
    hour: Option<(f64, Deviation)>,
    seen: (f64, f64),
}

/// Expected range, and the source of the expectation.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) range: Range,
    pub(crate) source: &'static str,
}

impl Ensemble {
    pub(crate) fn new() -> Self {
        Self {
            streams: std::array::from_fn(|_| Stream::new()),
            leaders: VIEWS.map(|view| Leader::new(view.window)),
            rate: 2.0,
            deviations: [Deviation::new(); 5],
            profile: Profile::new(),
            spread: Spread::new(),
            averages: None,
            now: 0,
            seen: (f64::INFINITY, f64::NEG_INFINITY),
        }
    }

    /// Returns true if this version can continue with the saved state.
    pub(crate) fn fits(&self) -> bool {
        self.profile.fits()
            && self.spread.fits()
            && (SCALES..=2.0).contains(&self.rate)
            && self.streams.iter().all(Stream::is_sound)
            && self.deviations.iter().all(Deviation::is_sound)
            && self.averages.as_ref().is_none_or(Averages::is_sound)
            && !(self.seen.0.is_nan() || self.seen.1.is_nan())
            && self
                .leaders
                .iter()
                .zip(VIEWS)
                .all(|(leader, view)| leader.fits(view.window))
    }

    /// Judges a sample by those before it, then learns it.
    pub(crate) fn observe(&mut self, at: UnixMs, value: f64) -> Sight {
        let x = value.clamp(-LARGEST, LARGEST);
        let before = self.averages.unwrap_or(Averages {
            slow: x,
            smooth: x,
            slowest: x,
            last: x,
        });
        let usual = self.profile.observe(at, x);
        let [of_slow, of_hour, ..] = self.deviations;
        let about = About {
            slow: (before.slow, of_slow),
            hour: usual.map(|usual| (usual, of_hour)),
            seen: self.seen,
        };
        let (least, largest) = self.seen;
        self.seen = (
            if x < least { x } else { least },
            if x > largest { x } else { largest },
        );
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
        let figures = [x, x - averages.slow, from_hour, spread, averages.smooth];
        self.rate = if self.rate > 1.0 {
            1.0
        } else {
            self.rate / (1.0 + self.rate)
        };
        self.rate = if self.rate > SCALES {
            self.rate
        } else {
            SCALES
        };
        let floor = self.floor();
        for (index, (stream, figure)) in self.streams.iter_mut().zip(figures).enumerate() {
            if let Some(before) = stream.observe(figure, self.rate, floor) {
                refocus(&mut self.leaders, index, before, stream.lens());
            }
        }
        let mut distances = [0.0; VIEWS.len()];
        for ((distance, leader), view) in distances.iter_mut().zip(&mut self.leaders).zip(&VIEWS) {
            let stream = &self.streams[view.stream];
            *distance = at_most(leader.observe(self.now, stream.seen(), stream.unit()));
        }

        let parts = [
            (x - before.slow).abs(),
            from_hour.abs(),
            (x - before.last).abs(),
            spread,
            averages.slowest,
        ];
        // The logarithm of the product is the sum of the logarithms. One logarithm replaces five.
        let mut product = 1.0;
        for (deviation, part) in self.deviations.iter_mut().zip(parts) {
            let z = deviation.above(part);
            product *= 1.0
                + if z < MOST_DEVIATIONS {
                    z
                } else {
                    MOST_DEVIATIONS
                };
        }
        Sight {
            distances,
            deviations: product.ln() / parts.len() as f64,
            about,
        }
    }

    /// Returns the smallest difference that is more than rounding.
    fn floor(&self) -> f64 {
        let (least, largest) = self.seen;
        ROUNDING * if -least > largest { -least } else { largest }
    }

    /// Returns the score that the last sample would have if nothing had been learnt lately.
    pub(crate) fn lasting(&self, sight: &Sight) -> f64 {
        let mut distances = [0.0; VIEWS.len()];
        for ((distance, leader), view) in distances.iter_mut().zip(&self.leaders).zip(&VIEWS) {
            *distance =
                at_most(leader.distance_from_old(self.now, self.streams[view.stream].unit()));
        }
        score(&distances, sight.deviations)
    }
}

impl Sight {
    /// Returns the score mean_i min(d_i, 0.1) / 0.0433 + 0.125 · mean_j log(1 + z_j). 1 is the
    /// threshold.
    pub(crate) fn score(&self) -> f64 {
        score(&self.distances, self.deviations)
    }

    /// Returns the names of the views to which the sample is new, the largest distance first.
    pub(crate) fn surprised(&self) -> Vec<&'static str> {
        let mut views: Vec<_> = self
            .distances
            .iter()
            .zip(VIEWS)
            .filter(|(distance, _)| **distance > NEW_PROTOTYPE_DISTANCE)
            .collect();
        views.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        views.into_iter().map(|(_, view)| view.name).collect()
    }

    /// Returns the narrower of two ranges: one about the slow average, and one about the usual
    /// value at that hour of the week. On either side, a range is as wide as the mean distance from
    /// its centre plus three deviations. The range does not extend below 0 if the series was never
    /// negative, nor above 0 if it was never positive.
    pub(crate) fn expected(&self) -> Expected {
        let about = |(centre, off): (f64, Deviation), source| {
            let off = off.usual();
            let (least, largest) = self.about.seen;
            let low = if least >= 0.0 {
                (centre - off).max(0.0)
            } else {
                centre - off
            };
            let high = if largest <= 0.0 {
                (centre + off).min(0.0)
            } else {
                centre + off
            };
            Expected {
                // A damaged state may know extremes that its averages contradict.
                range: Range {
                    low,
                    high: high.max(low),
                },
                source,
            }
        };
        let slow = about(self.about.slow, "about the slow average");
        match self
            .about
            .hour
            .map(|hour| about(hour, "at this hour of the week"))
        {
            Some(hour) if hour.range.high - hour.range.low < slow.range.high - slow.range.low => {
                hour
            }
            _ => slow,
        }
    }
}

/// Converts the values that the leaders of a stream keep from the lens `before` to the lens
/// `after`.
#[cold]
fn refocus(leaders: &mut [Leader; VIEWS.len()], stream: usize, before: Lens, after: Lens) {
    for (leader, _) in leaders
        .iter_mut()
        .zip(&VIEWS)
        .filter(|(_, view)| view.stream == stream)
    {
        leader.refocus(|seen| after.see(before.back(seen)));
    }
}

/// Limits a distance to `FURTHEST`. This includes an infinite distance, for want of a prototype to
/// compare with.
#[inline]
fn at_most(distance: f64) -> f64 {
    if distance < FURTHEST {
        distance
    } else {
        FURTHEST
    }
}

#[inline]
fn score(distances: &[f64; VIEWS.len()], deviations: f64) -> f64 {
    distances.iter().sum::<f64>() / VIEWS.len() as f64 / THRESHOLD + DEVIATIONS * deviations
}
