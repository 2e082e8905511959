//! State of one series: calm, in doubt, or in an anomaly.

use anomalyzer_plugin_sdk::{Change, Direction, Observation, Phase, Range, figure};
use serde::{Deserialize, Serialize};

use crate::{Normal, ZScore};
use anomalyzer_statistics::Window;

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    window: Window,
    state: State,
}

#[derive(Serialize, Deserialize)]
enum State {
    Calm,
    /// Samples are out of range, but not yet enough in a row for an anomaly. Boxed, because it is
    /// rare.
    Doubt(Box<Doubt>),
    Anomaly(Box<Anomaly>),
}

#[derive(Serialize, Deserialize)]
struct Doubt {
    /// Mean and deviation at the first of these samples.
    normal: Normal,
    direction: Direction,
    samples: u32,
}

#[derive(Serialize, Deserialize)]
struct Anomaly {
    /// Mean and deviation when the anomaly began.
    normal: Normal,
    direction: Direction,
    /// Number of samples since the onset.
    lasted: u32,
    /// Number of consecutive samples that are back in range.
    back: u32,
    /// Severity of the last report.
    told: f64,
}

/// Factor by which the score must grow before the anomaly is reported again.
const WORSE: f64 = 1.5;

impl Series {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            window: Window::new(window),
            state: State::Calm,
        }
    }

    /// Returns true if the state can belong to a detector with that window.
    pub(crate) fn fits(&self, window: usize) -> bool {
        let is_sound = match &self.state {
            State::Calm => true,
            State::Doubt(doubt) => doubt.normal.is_sound(),
            State::Anomaly(anomaly) => {
                anomaly.normal.is_sound() && anomaly.told.is_finite() && anomaly.told >= 0.0
            }
        };
        self.window.fits(window) && is_sound
    }

    #[inline]
    pub(crate) fn observe(&mut self, detector: &ZScore, value: f64) -> Observation {
        if let State::Calm = self.state {
            if self.window.len() < detector.min_samples {
                self.window.push(value);
                return Observation::quiet(0.0);
            }
            let distance = self.window.distance(value);
            let limit = detector.limit(&self.window, distance);
            let square = distance * distance;
            // A comparison with NaN is false. The sample then gets the closer look below.
            if square <= limit {
                self.window.push(value);
                return Observation::quiet(if square > 0.0 {
                    (square / limit).sqrt()
                } else {
                    0.0
                });
            }
        }
        self.unusual(detector, value)
    }

    /// Handles every sample except one in range of a calm series.
    #[cold]
    #[inline(never)]
    fn unusual(&mut self, detector: &ZScore, value: f64) -> Observation {
        let hold = detector.settings.hold;
        let now = detector.normal(&self.window);
        let normal = match &self.state {
            State::Doubt(doubt) if hold => doubt.normal,
            State::Anomaly(anomaly) if hold => anomaly.normal,
            _ => now,
        };
        let seen = Seen::new(detector, normal, value);
        match std::mem::replace(&mut self.state, State::Calm) {
            State::Anomaly(anomaly) => {
                if !hold {
                    self.window.push(value);
                }
                self.in_anomaly(detector, anomaly, &seen)
            }
            State::Calm | State::Doubt(_) if !seen.out => {
                self.window.push(value);
                Observation::quiet(seen.score)
            }
            State::Doubt(doubt) => self.out(detector, &seen, Some(doubt)),
            State::Calm => self.out(detector, &seen, None),
        }
    }

    /// Handles a sample that is out of range while there is no anomaly yet.
    fn out(&mut self, detector: &ZScore, seen: &Seen, before: Option<Box<Doubt>>) -> Observation {
        let before = before
            .filter(|doubt| doubt.direction == seen.direction)
            .map_or(0, |doubt| doubt.samples);
        let samples = before.saturating_add(1);
        let Normal { mean, deviation } = seen.normal;
        let expected = detector.expected(seen.normal);
        let over = self.window.len();
        if detector.settings.hold {
            let furthest = deviation * detector.learn_within;
            self.window
                .push(seen.value.max(mean - furthest).min(mean + furthest));
        } else {
            self.window.push(seen.value);
        }
        if samples < detector.settings.for_samples {
            self.state = State::Doubt(Box::new(Doubt {
                normal: seen.normal,
                direction: seen.direction,
                samples,
            }));
            return Observation::quiet(seen.score);
        }
        self.state = State::Anomaly(Box::new(Anomaly {
            normal: seen.normal,
            direction: seen.direction,
            lasted: 0,
            back: 0,
            told: seen.score,
        }));
        let reason = format!("{} of the last {over} samples", seen.in_words());
        seen.change(Phase::Onset, seen.direction, expected, reason)
    }

    fn in_anomaly(
        &mut self,
        detector: &ZScore,
        mut anomaly: Box<Anomaly>,
        seen: &Seen,
    ) -> Observation {
        let (expected, direction) = (detector.expected(anomaly.normal), anomaly.direction);
        anomaly.lasted = anomaly.lasted.saturating_add(1);
        anomaly.back = if seen.out {
            0
        } else {
            anomaly.back.saturating_add(1)
        };
        if anomaly.back >= detector.settings.clear_samples {
            let Normal { mean, .. } = seen.normal;
            let reason = format!(
                "{} is near the mean {} again, for {} samples in a row",
                figure(seen.value),
                figure(mean),
                anomaly.back
            );
            return seen.change(Phase::Clear, direction, expected, reason);
        }
        if detector.settings.hold && anomaly.lasted >= detector.hold_at_most {
            self.window = Window::new(detector.window);
            let reason = format!(
                "{} after {} samples that were mostly out: accepted as the new level",
                figure(seen.value),
                anomaly.lasted
            );
            return seen.change(Phase::Clear, direction, expected, reason);
        }
        let worse = seen.out && seen.score >= anomaly.told * WORSE;
        if worse {
            anomaly.told = seen.score;
        }
        self.state = State::Anomaly(anomaly);
        if worse {
            let reason = format!("{} of before", seen.in_words());
            return seen.change(Phase::Ongoing, seen.direction, expected, reason);
        }
        Observation::quiet(seen.score)
    }
}

/// Sample and its judgement.
struct Seen {
    value: f64,
    normal: Normal,
    z: f64,
    score: f64,
    out: bool,
    direction: Direction,
}

impl Seen {
    fn new(detector: &ZScore, normal: Normal, value: f64) -> Self {
        let z = ZScore::z(normal, value);
        let score = detector.score(z);
        let direction = if z < 0.0 {
            Direction::Below
        } else {
            Direction::Above
        };
        Self {
            value,
            normal,
            z,
            score,
            out: score > 1.0,
            direction,
        }
    }

    fn in_words(&self) -> String {
        let side = if self.z < 0.0 { "below" } else { "above" };
        let (value, mean) = (figure(self.value), figure(self.normal.mean));
        if self.normal.deviation == 0.0 {
            return format!("{value} is {side} the constant {mean}");
        }
        format!(
            "{value} is {:.1} standard deviations {side} the mean {mean}",
            self.z.abs()
        )
    }

    fn change(
        &self,
        phase: Phase,
        direction: Direction,
        expected: Range,
        reason: String,
    ) -> Observation {
        let change = Change {
            phase,
            direction,
            severity: self.score,
            expected: Some(expected),
            reason,
        };
        Observation::change(self.score, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_range_that_cannot_be_is_refused() {
        let good = Normal {
            mean: 100.0,
            deviation: 10.0,
        };
        let doubt = |normal| {
            State::Doubt(Box::new(Doubt {
                normal,
                direction: Direction::Above,
                samples: 1,
            }))
        };
        let anomaly = |normal, told| {
            State::Anomaly(Box::new(Anomaly {
                normal,
                direction: Direction::Above,
                lasted: 1,
                back: 0,
                told,
            }))
        };
        let fits = |state| {
            let series = Series {
                state,
                ..Series::new(5)
            };
            series.fits(5)
        };
        assert!(fits(State::Calm) && fits(doubt(good)) && fits(anomaly(good, 2.0)));
        for (mean, deviation) in [(f64::NAN, 1.0), (1.0, f64::NAN), (1.0, -1.0)] {
            let bad = Normal { mean, deviation };
            assert!(!fits(doubt(bad)) && !fits(anomaly(bad, 2.0)), "{bad:?}");
        }
        for told in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(!fits(anomaly(good, told)), "{told}");
        }
    }
}
