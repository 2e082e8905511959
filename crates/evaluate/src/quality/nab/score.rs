//! Scores alarms by the rules of the benchmark.

use std::ops::Add;

/// Range of rows, both ends included, within which an alarm is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub first: usize,
    /// Last row.
    pub last: usize,
}

/// Scores and windows of one file. Rows that the detector did not see count as 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Scores by row. An alarm is a score at or above the threshold.
    pub scores: Vec<f64>,
    /// Windows in order, without overlaps.
    pub windows: Vec<Window>,
}

/// Weights of hits, false alarms and misses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Name of the profile.
    pub name: &'static str,
    /// Weight of a false alarm. A hit has the weight 1.
    pub false_alarm: f64,
    /// Weight of a missed window.
    pub miss: f64,
}

/// The three profiles of the benchmark.
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "standard",
        false_alarm: 0.11,
        miss: 1.0,
    },
    Profile {
        name: "low_fp",
        false_alarm: 0.22,
        miss: 1.0,
    },
    Profile {
        name: "low_fn",
        false_alarm: 0.11,
        miss: 2.0,
    },
];

/// Summed alarms before they are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Number of windows.
    pub windows: usize,
    /// Number of windows with an alarm.
    pub found: usize,
    /// Summed value of the hits, at most 1 each.
    pub worth: f64,
    /// Number of rows with an alarm outside of any window.
    pub false_alarms: usize,
    /// Summed value of the false alarms, from −1 to 0 each.
    pub harm: f64,
}

impl Tally {
    /// Returns 100 (S − S₀) / (S₁ − S₀), with S₀ for no alarms at all and S₁ for a perfect
    /// detector. Returns NaN without windows.
    pub fn score(&self, profile: &Profile) -> f64 {
        self.points(profile, self.windows)
    }

    /// Returns the share of this tally in the score over `windows` windows. The shares of all files
    /// add up to the score.
    pub fn points(&self, profile: &Profile, windows: usize) -> f64 {
        // The terms are: S = worth + harm·wf − (windows − found)·wm, S₀ = −windows·wm, S₁ =
        // windows.
        let above_none =
            self.worth + self.harm * profile.false_alarm + self.found as f64 * profile.miss;
        100.0 * above_none / (windows as f64 * (1.0 + profile.miss))
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            windows: self.windows + other.windows,
            found: self.found + other.found,
            worth: self.worth + other.worth,
            false_alarms: self.false_alarms + other.false_alarms,
            harm: self.harm + other.harm,
        }
    }
}

/// Returns the number of rows at the beginning that are not scored: 15 % of `rows`, at most 750.
pub fn probation(rows: usize) -> usize {
    (rows * 15 / 100).min(750)
}

/// Returns σ(y) = 2 / (1 + e^{5y}) − 1, from 1 long before to −1 long after.
fn sigma(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y).exp()) - 1.0
}

/// Returns the value of an alarm at a row of a window: 1 at its first row, little at its last.
fn hit(row: usize, Window { first, last }: Window) -> f64 {
    let (left, width) = (last - row + 1, last - first + 1);
    sigma(-(left as f64) / width as f64) / sigma(-1.0)
}

/// Returns the value of an alarm at a row outside of the windows. `before` is the window before the
/// row. The value is nearly 0 just behind a window, and −1 far from it or before all windows.
fn harm(row: usize, before: Option<Window>) -> f64 {
    let Some(Window { first, last }) = before else {
        return -1.0;
    };
    let y = (row - last) as f64 / (last - first) as f64;
    if y > 3.0 { -1.0 } else { sigma(y) }
}

/// Position of a row.
pub(super) enum Place {
    /// Row within the window with that index, with the value of an alarm.
    Within(usize, f64),
    /// Row outside of all windows, with the value of an alarm.
    Outside(f64),
}

impl Series {
    /// Returns the number of windows that can be found: those that do not end in the probation.
    pub(super) fn windows(&self) -> usize {
        let from = probation(self.scores.len());
        self.windows
            .iter()
            .filter(|window| window.last >= from)
            .count()
    }

    /// Returns the scored rows in order, each with its score and the value of an alarm there.
    pub(super) fn rows(&self) -> impl Iterator<Item = (f64, Place)> {
        let from = probation(self.scores.len());
        let mut next = 0;
        self.scores
            .iter()
            .enumerate()
            .skip(from)
            .map(move |(row, score)| {
                while self
                    .windows
                    .get(next)
                    .is_some_and(|window| window.last < row)
                {
                    next += 1;
                }
                let place = match self.windows.get(next).filter(|window| window.first <= row) {
                    Some(window) => Place::Within(next, hit(row, *window)),
                    None => Place::Outside(harm(
                        row,
                        next.checked_sub(1)
                            .and_then(|last| self.windows.get(last))
                            .copied(),
                    )),
                };
                (*score, place)
            })
    }

    /// Sums the alarms at a threshold. Within a window, only the earliest alarm counts.
    pub fn tally(&self, threshold: f64) -> Tally {
        let mut tally = Tally {
            windows: self.windows(),
            ..Tally::default()
        };
        let mut found = None;
        for (score, place) in self.rows() {
            match place {
                _ if score < threshold => {}
                Place::Within(window, _) if found == Some(window) => {}
                Place::Within(window, worth) => {
                    found = Some(window);
                    tally.found += 1;
                    tally.worth += worth;
                }
                Place::Outside(harm) => {
                    tally.false_alarms += 1;
                    tally.harm += harm;
                }
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 100 rows with windows at 40..=49 and 80..=84, and alarms at the rows `alarms`.
    fn series(alarms: &[usize]) -> Series {
        let mut scores = vec![0.0; 100];
        alarms.iter().for_each(|row| scores[*row] = 1.0);
        Series {
            scores,
            windows: vec![
                Window {
                    first: 40,
                    last: 49,
                },
                Window {
                    first: 80,
                    last: 84,
                },
            ],
        }
    }

    fn scores(alarms: &[usize]) -> [f64; 3] {
        let tally = series(alarms).tally(1.0);
        PROFILES.map(|profile| tally.score(&profile))
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn no_alarm_is_0_and_perfect_is_100() {
        assert_eq!(scores(&[]), [0.0; 3]);
        assert_eq!(scores(&[40, 80]), [100.0; 3]);
    }

    #[test]
    fn the_sigmoid_has_its_published_values() {
        // The values of formulas like 2 / (1 + e^{-5}) − 1 were computed by hand.
        assert!(close(sigma(-1.0), 0.986_614_298_151_43), "{}", sigma(-1.0));
        assert_eq!(sigma(0.0), 0.0);
        assert!(close(sigma(0.1), -0.244_918_662_403_709), "{}", sigma(0.1));
        assert!(close(sigma(0.5), -0.848_283_639_957_513), "{}", sigma(0.5));
    }

    #[test]
    fn within_a_window_only_the_earliest_alarm_counts_and_more_the_earlier_it_is() {
        assert_eq!(scores(&[42, 45, 49]), scores(&[42]));
        let hit = |row| series(&[row]).tally(1.0).worth;
        assert_eq!(hit(40), 1.0);
        // Five rows of ten are left: σ(−0.5) / σ(−1).
        assert!(close(hit(45), 0.848_283_639_957_513 / 0.986_614_298_151_43));
        assert!(close(hit(49), 0.244_918_662_403_709 / 0.986_614_298_151_43));
        // One window of two is found at its beginning. That is half of the score for any weight of
        // a miss.
        assert_eq!(scores(&[40]), [50.0; 3]);
    }

    #[test]
    fn a_false_alarm_costs_more_the_further_behind_a_window_it_is() {
        let harm = |row| series(&[row]).tally(1.0).harm;
        assert_eq!(harm(39), -1.0, "before the first window");
        // The position is (row − last) / (width − 1). The divisor is 9 behind row 49 and 4 behind
        // row 84.
        assert!(close(harm(50), sigma(1.0 / 9.0)));
        assert!(close(harm(58), sigma(1.0)));
        assert!(close(harm(76), sigma(3.0)));
        assert_eq!(harm(77), -1.0, "y > 3");
        assert!(close(harm(86), sigma(0.5)));
        assert_eq!(harm(97), -1.0);
        // With two windows, S₁ − S₀ is 4 in the profile `standard` and 6 in the profile `low_fn`.
        for (score, weight) in
            scores(&[39, 77])
                .into_iter()
                .zip([0.11 / 4.0, 0.22 / 4.0, 0.11 / 6.0])
        {
            assert!(close(score, -200.0 * weight), "{score}");
        }
    }

    #[test]
    fn behind_a_window_of_one_row_every_alarm_is_far() {
        let mut series = series(&[60]);
        series.windows = vec![Window {
            first: 59,
            last: 59,
        }];
        assert_eq!(series.tally(1.0).harm, -1.0);
        series.scores[59] = 1.0;
        assert_eq!(series.tally(1.0).worth, 1.0);
    }

    #[test]
    fn the_beginning_is_not_scored() {
        assert_eq!(
            [0, 6, 7, 100, 4999, 5000, 5001, 22_695].map(probation),
            [0, 0, 1, 15, 749, 750, 750, 750]
        );
        assert_eq!(series(&[0, 14]).tally(1.0), series(&[]).tally(1.0));
        assert_eq!(series(&[15]).tally(1.0).false_alarms, 1);
        let mut early = series(&[10, 16]);
        early.windows.insert(0, Window { first: 5, last: 14 });
        let tally = early.tally(1.0);
        assert_eq!(
            (tally.windows, tally.found),
            (2, 0),
            "a window that ends in it can't be found"
        );
        assert!(
            close(tally.harm, sigma(2.0 / 9.0)),
            "and is one all the same to what comes after it"
        );
    }

    #[test]
    fn an_alarm_is_a_score_at_or_above_the_threshold() {
        let mut series = series(&[]);
        series.scores[40] = 0.7;
        assert_eq!(
            [0.6, 0.7, 0.700_001].map(|threshold| series.tally(threshold).found),
            [1, 1, 0]
        );
    }
}
