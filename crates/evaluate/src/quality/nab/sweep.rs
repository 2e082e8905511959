//! Finds the threshold that would have been best.

use super::score::{PROFILES, Place, Series};

/// A row that becomes an alarm when the threshold falls to its score.
struct Alarm {
    score: f64,
    /// Index among all windows of all files. `None` outside of them.
    window: Option<u32>,
    worth: f64,
}

/// Returns the threshold at which each of [`PROFILES`] has its highest score over all files, or
/// `None` where no alarm at all is best. The choice uses the labels. The score is therefore an
/// upper bound for the detector, and not its actual result. Runs in O(n log n), because the
/// threshold falls through all scores once.
pub fn best(files: &[Series]) -> [Option<f64>; 3] {
    let mut alarms = Vec::with_capacity(files.iter().map(|file| file.scores.len()).sum());
    let mut windows = 0;
    for file in files {
        alarms.extend(file.rows().map(|(score, place)| match place {
            Place::Within(window, worth) => Alarm {
                score,
                window: u32::try_from(windows + window).ok(),
                worth,
            },
            Place::Outside(worth) => Alarm {
                score,
                window: None,
                worth,
            },
        }));
        windows += file.windows.len();
    }
    alarms.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
    let mut earliest: Vec<Option<f64>> = vec![None; windows];
    let (mut worth, mut found, mut harm) = (0.0, 0.0, 0.0);
    let mut best = PROFILES.map(|_| (0.0, None));
    for same in alarms.chunk_by(|a, b| a.score == b.score) {
        for alarm in same {
            let Some(window) = alarm
                .window
                .and_then(|window| earliest.get_mut(window as usize))
            else {
                harm += alarm.worth;
                continue;
            };
            // The earliest alarm of a window has the highest value.
            match window {
                None => found += 1.0,
                Some(before) if *before < alarm.worth => worth -= *before,
                Some(_) => continue,
            }
            worth += alarm.worth;
            *window = Some(alarm.worth);
        }
        for ((most, threshold), profile) in best.iter_mut().zip(&PROFILES) {
            let above_none = worth + profile.false_alarm * harm + profile.miss * found;
            if above_none > *most {
                (*most, *threshold) = (above_none, same.first().map(|alarm| alarm.score));
            }
        }
    }
    best.map(|(_, threshold)| threshold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::score::{Tally, Window};
    use super::*;

    fn all(files: &[Series], threshold: f64) -> Tally {
        files
            .iter()
            .map(|file| file.tally(threshold))
            .fold(Tally::default(), |a, b| a + b)
    }

    #[test]
    fn without_a_right_alarm_none_is_best() {
        let windows = vec![Window {
            first: 60,
            last: 69,
        }];
        let mut file = Series {
            scores: vec![0.0; 100],
            windows,
        };
        file.scores[30] = 2.0;
        // All rows are alarms at 0, and that costs more than the window brings.
        assert_eq!(best(&[file.clone()]), [None; 3]);
        file.scores[60] = 1.5;
        assert_eq!(best(&[file]), [Some(1.5); 3]);
    }

    proptest! {
        #[test]
        fn no_threshold_is_better_than_the_best(
            scores in prop::collection::vec(prop::collection::vec(0_u8..20, 40..120), 1..4),
            first in 5_usize..30,
            width in 1_usize..9,
        ) {
            let files: Vec<Series> = scores
                .into_iter()
                .map(|scores| Series {
                    scores: scores.into_iter().map(f64::from).collect(),
                    windows: vec![Window { first, last: first + width - 1 }],
                })
                .collect();
            prop_assume!(files.iter().all(|file| file.windows() == 1));
            for (threshold, profile) in best(&files).into_iter().zip(&PROFILES) {
                let reached = threshold.map_or(0.0, |threshold| all(&files, threshold).score(profile));
                for other in 0..20 {
                    prop_assert!(all(&files, f64::from(other)).score(profile) <= reached + 1e-9);
                }
            }
        }
    }
}
