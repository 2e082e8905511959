//! The warm-up of a detector: the series of which it needs more samples before it reports findings.
//!
//! The setting `min_samples` of a detector holds the number of samples. A detector without that
//! setting has no warm-up.

use std::collections::HashMap;

use serde::Serialize;

use super::series::SeriesTable;
use anomalyzer_domain::{UnixMs, as_rfc3339_option};
use anomalyzer_plugin_host::Frame;

/// Maximum age of a status, while the number of series in warm-up stays equal.
const STATUS_MAX_AGE_MS: i64 = 1000;

/// Progress of the warm-up of one detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learning {
    /// The detector.
    pub detector: String,
    /// Number of series in warm-up.
    pub series: usize,
    /// Number of samples of a series that the detector needs.
    pub min_samples: u32,
    /// Lowest number of samples among these series.
    pub least: u32,
    /// Time at which the last of these series has enough samples, at its present pace. None while
    /// no series has two samples, so that no pace is known.
    #[serde(with = "as_rfc3339_option")]
    pub ready_at: Option<UnixMs>,
}

/// Sample counts of the series in warm-up of one detector.
#[derive(Debug, Default)]
pub(super) struct Warmup {
    min_samples: u32,
    /// The counts by series.
    seen: HashMap<u32, Seen>,
    /// The last status and its time.
    last: Option<(UnixMs, Learning)>,
    /// Number of series that ended in their warm-up since the last one that completed it.
    ended: u32,
    /// Time of the last such end.
    ended_at: UnixMs,
}

/// Number of series in a row that end in their warm-up before the detector counts as one that never
/// learns.
const MIN_ENDED: u32 = 5;
/// Time after which the ends are forgotten.
const ENDED_MAX_AGE_MS: i64 = 60 * 60 * 1000;

#[derive(Clone, Copy, Debug)]
struct Seen {
    samples: u32,
    /// The first sample counted here: the count with it, and its time.
    first: Option<(u32, UnixMs)>,
    last: UnixMs,
}

impl Warmup {
    /// `min_samples` is None for a detector without a warm-up.
    pub(super) fn new(min_samples: Option<u32>) -> Self {
        Self {
            min_samples: min_samples.unwrap_or(0),
            ..Self::default()
        }
    }

    /// Starts anew with `restored` series, each with the number of samples in its state.
    pub(super) fn restart(&mut self, restored: &HashMap<u32, u32>) {
        self.seen.clear();
        for (id, samples) in restored {
            self.begin(*id, *samples);
        }
    }

    fn begin(&mut self, id: u32, samples: u32) {
        if samples < self.min_samples {
            self.seen.insert(
                id,
                Seen {
                    samples,
                    first: None,
                    last: UnixMs::MIN,
                },
            );
        }
    }

    /// Counts the samples of an evaluated frame, and adds the series that it opens.
    pub(super) fn take(&mut self, frame: &Frame) {
        for (id, _) in &frame.opened {
            self.begin(*id, 0);
        }
        self.count(frame);
    }

    /// Counts the samples of an evaluated frame whose series are known.
    pub(super) fn count(&mut self, frame: &Frame) {
        if self.seen.is_empty() {
            return;
        }
        for (id, at) in frame.ids.iter().zip(&frame.at) {
            let Some(seen) = self.seen.get_mut(id) else {
                continue;
            };
            seen.samples += 1;
            seen.last = *at;
            seen.first.get_or_insert((seen.samples, *at));
            if seen.samples >= self.min_samples {
                self.seen.remove(id);
                self.ended = 0;
            }
        }
        for id in &frame.closed {
            if self.seen.remove(id).is_some() {
                self.ended = self.ended.saturating_add(1);
                self.ended_at = frame.now;
            }
        }
    }

    /// Returns the reason if the detector never learns, because its series end again and again
    /// before they have enough samples.
    pub(super) fn never_learns(&self, detector: &str, now: UnixMs) -> Option<String> {
        let age = now.saturating_sub(self.ended_at);
        let is_recent = (-ENDED_MAX_AGE_MS..ENDED_MAX_AGE_MS).contains(&age);
        (self.ended >= MIN_ENDED && is_recent).then(|| {
            format!(
                "{detector}: {} series in a row ended before they had the {} samples that it needs",
                self.ended, self.min_samples
            )
        })
    }

    /// Returns the number of samples of a series in warm-up.
    pub(super) fn seen(&self, id: u32) -> Option<u32> {
        self.seen.get(&id).map(|seen| seen.samples)
    }

    /// Returns the progress at `now`, or None if no series is in warm-up.
    pub(super) fn status(
        &mut self,
        detector: &str,
        table: &SeriesTable,
        now: UnixMs,
    ) -> Option<Learning> {
        if self.seen.is_empty() {
            self.last = None;
            return None;
        }
        let fresh = |(at, learning): &&(UnixMs, Learning)| {
            learning.series == self.seen.len() && now.saturating_sub(*at) < STATUS_MAX_AGE_MS
        };
        if let Some((_, learning)) = self.last.as_ref().filter(fresh) {
            return Some(learning.clone());
        }
        // A frame over which the detector failed was not counted, so that its ends are unknown
        // here.
        self.seen.retain(|id, _| table.watermark(*id).is_some());
        let least = self.seen.values().map(|seen| seen.samples).min()?;
        let left = self
            .seen
            .values()
            .filter_map(|seen| seen.left(self.min_samples))
            .max();
        let learning = Learning {
            detector: detector.to_owned(),
            series: self.seen.len(),
            min_samples: self.min_samples,
            least,
            ready_at: left.map(|left| now.saturating_add(left)),
        };
        self.last = Some((now, learning.clone()));
        Some(learning)
    }
}

impl Seen {
    /// Returns the milliseconds until the series has `wanted` samples, at its present pace.
    fn left(self, wanted: u32) -> Option<i64> {
        let (samples, at) = self.first?;
        let steps = i64::from(
            self.samples
                .checked_sub(samples)
                .filter(|steps| *steps > 0)?,
        );
        let missing = i64::from(wanted.saturating_sub(self.samples));
        Some(self.last.saturating_sub(at).saturating_mul(missing) / steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Labels, Sample, Series, Target};

    /// A detector that needs ten samples, and its series.
    struct Rig {
        warmup: Warmup,
        table: SeriesTable,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                warmup: Warmup::new(Some(10)),
                table: SeriesTable::default(),
            }
        }

        /// Shows samples of a series, one every `step` from 0 on.
        fn show(&mut self, pod: &str, samples: i64, step: i64) {
            let samples = (0..samples)
                .map(|i| Sample {
                    at: i * step,
                    value: 1.0,
                })
                .collect();
            let series = Series {
                labels: Labels::new([("pod", pod)]),
                samples,
            };
            let mut frame = Frame::default();
            self.table
                .feed(&mut frame, &Target::new("", "Process", "web"), &[series]);
            self.warmup.take(&frame);
        }

        /// Returns the number of series in warm-up, the lowest number of samples, and the time at
        /// which all are ready.
        fn told(&mut self, now: UnixMs) -> Option<(usize, u32, Option<UnixMs>)> {
            let told = self.warmup.status("novelty", &self.table, now);
            told.map(|learning| (learning.series, learning.least, learning.ready_at))
        }
    }

    #[test]
    fn the_series_that_is_furthest_behind_says_when_all_are_ready() {
        let mut rig = Rig::new();
        assert_eq!(rig.told(0), None);
        rig.show("a", 1, 1000);
        assert_eq!(
            rig.told(0),
            Some((1, 1, None)),
            "of one sample no pace is known"
        );
        rig.show("a", 5, 1000);
        assert_eq!(rig.told(4000), Some((1, 5, Some(9000))));
        rig.show("b", 3, 2000);
        assert_eq!(rig.told(4000), Some((2, 3, Some(18_000))));
        rig.show("a", 10, 1000);
        assert_eq!(
            rig.told(9000),
            Some((1, 3, Some(23_000))),
            "what does not come is waited for"
        );
        rig.show("b", 10, 2000);
        assert_eq!(rig.told(18_000), None);
    }

    #[test]
    fn what_was_given_back_goes_on_where_it_was() {
        let mut rig = Rig::new();
        rig.show("a", 8, 1000);
        assert_eq!(rig.warmup.seen(0), Some(8));
        rig.warmup.restart(&[(0, 8)].into());
        assert_eq!(rig.told(7000), Some((1, 8, None)));
        rig.show("a", 9, 1000);
        assert_eq!(rig.warmup.seen(0), Some(9));
        rig.show("a", 10, 1000);
        assert_eq!(rig.warmup.seen(0), None);
        rig.warmup.restart(&HashMap::new());
        assert_eq!(rig.told(9000), None);
    }

    #[test]
    fn a_series_that_ended_is_not_waited_for() {
        let mut rig = Rig::new();
        rig.show("a", 2, 1000);
        let mut frame = Frame {
            closed: vec![0],
            ..Frame::default()
        };
        rig.warmup.count(&frame);
        assert_eq!(rig.told(1000), None);
        // Not told by a frame that it failed at: gone all the same.
        rig.show("b", 2, 1000);
        rig.table.close_idle(&mut frame, UnixMs::MAX);
        assert_eq!(rig.told(10_000), None);
    }

    #[test]
    fn a_detector_whose_series_end_again_and_again_never_learns_until_one_completes() {
        let mut rig = Rig::new();
        let close = |rig: &mut Rig, pod: &str| {
            let series = Series {
                labels: Labels::new([("pod", pod)]),
                samples: vec![Sample {
                    at: 100_000,
                    value: f64::from_bits(0x7ff0_0000_0000_0002),
                }],
            };
            let mut frame = Frame::default();
            rig.table
                .feed(&mut frame, &Target::new("", "Process", "web"), &[series]);
            assert_eq!(frame.closed.len(), 1);
            rig.warmup.count(&frame);
        };
        for ended in 1..=MIN_ENDED {
            assert_eq!(rig.warmup.never_learns("novelty", 0), None);
            rig.show("a", i64::from(ended), 1000);
            close(&mut rig, "a");
        }
        let told = rig.warmup.never_learns("novelty", 0).unwrap();
        assert!(told.starts_with("novelty: 5 series in a row"), "{told}");
        assert_eq!(rig.warmup.never_learns("novelty", ENDED_MAX_AGE_MS), None);
        rig.show("b", 10, 1000);
        assert_eq!(rig.warmup.never_learns("novelty", 0), None);
        close(&mut rig, "b");
        assert_eq!(rig.warmup.never_learns("novelty", 0), None, "it had learnt");
    }

    #[test]
    fn a_detector_that_does_not_say_how_many_it_wants_is_not_waited_for() {
        let mut rig = Rig {
            warmup: Warmup::new(None),
            ..Rig::new()
        };
        rig.show("a", 1, 1000);
        assert_eq!(rig.told(0), None);
    }
}
