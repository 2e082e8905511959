//! Begin and end of anomalies, for detectors that compute a score for each sample.

use serde::{Deserialize, Serialize};

use crate::{Change, Direction, Error, Observation, Phase, Range, within};

/// Numbers of consecutive samples that begin and end an anomaly.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    for_samples: u32,
    clear_samples: u32,
}

/// Maximum number of consecutive samples. A longer run would never come.
const MAX_SAMPLES: u32 = 100_000;

impl Rule {
    /// Makes a rule from the settings of these names. An anomaly begins after `for_samples` samples
    /// in a row that are out of range, and ends after `clear_samples` samples in a row that are in
    /// range.
    pub fn new(for_samples: u32, clear_samples: u32) -> Result<Self, Error> {
        within("for_samples", for_samples, 1..=MAX_SAMPLES)?;
        within("clear_samples", clear_samples, 1..=MAX_SAMPLES)?;
        Ok(Self {
            for_samples,
            clear_samples,
        })
    }
}

/// Words and figures about a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Direction in which the series differs. The value at the onset counts.
    pub direction: Direction,
    /// Expected range. The value at the onset counts.
    pub expected: Option<Range>,
    /// Reason in one line for a person, with figures.
    pub reason: String,
}

/// Factor by which the score must grow before the anomaly is reported again.
const WORSE: f64 = 1.5;
/// Maximum score of a sample that is not an onset.
const MOST_KNOWN: f64 = 0.999;

/// Anomaly state of one series. A sample is out of range if its score is 1 or more. NaN is not out
/// of range.
///
/// The score in an observation says how new the sample is. At an onset, it is the score that the
/// detector computed. While the series is in doubt or the anomaly goes on, it is s / (1 + s), which
/// is below 1. A score of 1 or more is therefore always an onset. The severity says how bad an
/// ongoing anomaly is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Episode(State);

#[derive(Debug, Serialize, Deserialize)]
enum State {
    Calm {
        /// Number of consecutive samples out of range.
        out: u32,
    },
    /// Boxed, because it is rare.
    Open(Box<Open>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    direction: Direction,
    expected: Option<(f64, f64)>,
    /// Severity of the last report.
    told: f64,
    /// Number of consecutive samples back in range.
    back: u32,
}

impl Default for Episode {
    fn default() -> Self {
        Self(State::Calm { out: 0 })
    }
}

impl Episode {
    /// Returns true if no anomaly goes on or begins. A sample in range then needs no words.
    #[inline]
    pub fn is_calm(&self) -> bool {
        matches!(self.0, State::Calm { out: 0 })
    }

    /// Handles the score of the next sample. Calls `tell` if the phase changes.
    #[inline]
    pub fn observe(
        &mut self,
        rule: Rule,
        score: f64,
        tell: impl FnOnce(Phase) -> Told,
    ) -> Observation {
        if self.is_calm() && !is_out(score) {
            Observation::quiet(score)
        } else {
            self.go_on(rule, score, tell)
        }
    }

    #[cold]
    fn go_on(&mut self, rule: Rule, score: f64, tell: impl FnOnce(Phase) -> Told) -> Observation {
        // For the largest scores, s / (1 + s) would be 1.
        let known = if score > 0.0 {
            (score / (1.0 + score)).min(MOST_KNOWN)
        } else {
            0.0
        };
        let open = match &mut self.0 {
            State::Calm { out } => {
                *out = if is_out(score) {
                    out.saturating_add(1)
                } else {
                    0
                };
                if *out < rule.for_samples {
                    return Observation::quiet(known);
                }
                let Told {
                    direction,
                    expected,
                    reason,
                } = tell(Phase::Onset);
                let range = expected.map(|range| (range.low, range.high));
                self.0 = State::Open(Box::new(Open {
                    direction,
                    expected: range,
                    told: score,
                    back: 0,
                }));
                let change = Change {
                    phase: Phase::Onset,
                    direction,
                    severity: score,
                    expected,
                    reason,
                };
                return Observation::change(score, change);
            }
            State::Open(open) => open,
        };
        open.back = if is_out(score) {
            0
        } else {
            open.back.saturating_add(1)
        };
        let phase = if open.back >= rule.clear_samples {
            Phase::Clear
        } else if score >= open.told * WORSE {
            open.told = score;
            Phase::Ongoing
        } else {
            return Observation::quiet(known);
        };
        let expected = open.expected.map(|(low, high)| Range { low, high });
        let change = Change {
            phase,
            direction: open.direction,
            severity: score,
            expected,
            reason: tell(phase).reason,
        };
        if phase == Phase::Clear {
            *self = Self::default();
        }
        Observation::change(known, change)
    }

    /// Returns true if the saved state is consistent.
    pub fn is_sound(&self) -> bool {
        match &self.0 {
            State::Calm { .. } => true,
            State::Open(open) => open.expected.is_none_or(|(low, high)| low <= high),
        }
    }
}

fn is_out(score: f64) -> bool {
    score >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(rule: (u32, u32), scores: &[f64]) -> Vec<(usize, Phase)> {
        let rule = Rule::new(rule.0, rule.1).unwrap();
        let mut episode = Episode::default();
        let told = |_| Told {
            direction: Direction::Above,
            expected: None,
            reason: "high".to_owned(),
        };
        let seen = scores
            .iter()
            .map(|score| episode.observe(rule, *score, told));
        seen.enumerate()
            .filter_map(|(at, seen)| Some((at, seen.change?.phase)))
            .collect()
    }

    #[test]
    fn it_begins_and_ends_with_so_many_in_a_row() {
        assert_eq!(
            phases((1, 1), &[0.0, 1.0, 0.9, 0.5]),
            [(1, Phase::Onset), (2, Phase::Clear)]
        );
        assert_eq!(
            phases((3, 2), &[2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 0.0, 2.0, 0.0, 0.0]),
            [(5, Phase::Onset), (9, Phase::Clear)]
        );
        assert_eq!(phases((1, 1), &[f64::NAN, 0.0]), []);
    }

    #[test]
    fn it_is_told_again_only_when_it_got_worse_by_half() {
        let found = phases((1, 3), &[2.0, 2.5, 3.0, 4.0, 4.5, 1.0]);
        assert_eq!(
            found,
            [(0, Phase::Onset), (2, Phase::Ongoing), (4, Phase::Ongoing)]
        );
    }

    #[test]
    fn the_score_is_1_or_more_at_an_onset_only() {
        let rule = Rule::new(2, 1).unwrap();
        let mut episode = Episode::default();
        let told = |_| Told {
            direction: Direction::Above,
            expected: None,
            reason: "high".to_owned(),
        };
        let seen = [0.5, 3.0, 3.0, 9.0, f64::MAX, 0.5, 0.5]
            .map(|score| episode.observe(rule, score, told));
        assert_eq!(
            seen.each_ref().map(|seen| seen.score),
            [0.5, 0.75, 3.0, 0.9, 0.999, 0.5 / 1.5, 0.5]
        );
        assert_eq!(seen[3].change.as_ref().unwrap().severity, 9.0);
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_named() {
        for (rule, key) in [
            ((0, 1), "`for_samples`"),
            ((1, 0), "`clear_samples`"),
            ((MAX_SAMPLES + 1, 1), "`for_samples`"),
        ] {
            let Err(Error::Invalid(message)) = Rule::new(rule.0, rule.1) else {
                panic!("{rule:?} passed")
            };
            assert!(message.contains(key), "{message}");
        }
    }
}
