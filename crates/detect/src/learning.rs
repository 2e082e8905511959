//! Which series a detector has not seen enough of to say anything, and when it will have.
//!
//! A detector says how many samples it wants by a setting `min_samples`. One that has none is not
//! asked to.

use std::collections::HashMap;

use serde::Serialize;

use super::series::SeriesTable;
use anomalyzer_domain::{UnixMs, as_rfc3339_option};
use anomalyzer_plugin_host::Frame;

/// How old what was made out may be, where nothing else has changed.
const ANEW_MS: i64 = 1000;

/// Series that a detector says nothing of yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learning {
    /// The detector.
    pub detector: String,
    /// How many series it says nothing of yet.
    pub series: usize,
    /// How many samples of a series it wants.
    pub min_samples: u32,
    /// How many the one that is furthest behind has.
    pub least: u32,
    /// When the last of them will have as many, if they come on as they do. None while that can't
    /// be told: of one sample.
    #[serde(with = "as_rfc3339_option")]
    pub ready_at: Option<UnixMs>,
}

/// What is counted of the series that one detector is still learning.
#[derive(Debug, Default)]
pub(super) struct Young {
    min_samples: u32,
    /// By series.
    seen: HashMap<u32, Seen>,
    /// What was made out last, and when.
    told: Option<(UnixMs, Learning)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    samples: u32,
    /// The first sample that was counted here: how many there were with it, and its time.
    first: Option<(u32, UnixMs)>,
    last: UnixMs,
}

impl Young {
    /// None of a detector that does not say how many samples it wants.
    pub(super) fn new(min_samples: Option<u32>) -> Self {
        Self {
            min_samples: min_samples.unwrap_or(0),
            ..Self::default()
        }
    }

    /// Begins anew with the series that were given back, of which so much had been seen.
    pub(super) fn begin_anew(&mut self, given_back: &HashMap<u32, u32>) {
        self.seen.clear();
        for (id, samples) in given_back {
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

    /// What the detector was shown.
    pub(super) fn take(&mut self, frame: &Frame) {
        for (id, _) in &frame.opened {
            self.begin(*id, 0);
        }
        self.count(frame);
    }

    /// What the detector was shown of series that it knew.
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
            }
        }
        for id in &frame.closed {
            self.seen.remove(id);
        }
    }

    /// How much was seen of a series. None if that is enough.
    pub(super) fn seen(&self, id: u32) -> Option<u32> {
        self.seen.get(&id).map(|seen| seen.samples)
    }

    /// How it stands at that time, unless all has been seen enough of.
    pub(super) fn tell(
        &mut self,
        detector: &str,
        table: &SeriesTable,
        now: UnixMs,
    ) -> Option<Learning> {
        if self.seen.is_empty() {
            self.told = None;
            return None;
        }
        let fresh = |(at, learning): &&(UnixMs, Learning)| {
            learning.series == self.seen.len() && now.saturating_sub(*at) < ANEW_MS
        };
        if let Some((_, learning)) = self.told.as_ref().filter(fresh) {
            return Some(learning.clone());
        }
        // Of a frame that the detector failed at nobody knows what it took in.
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
        self.told = Some((now, learning.clone()));
        Some(learning)
    }
}

impl Seen {
    /// How many milliseconds it takes until there are as many samples, at the pace of those that
    /// came.
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

    /// A detector that wants ten samples, and what it is shown.
    struct Rig {
        young: Young,
        table: SeriesTable,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                young: Young::new(Some(10)),
                table: SeriesTable::default(),
            }
        }

        /// That many samples of a series, one every `step` from 0 on.
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
            self.young.take(&frame);
        }

        /// Series that are learnt, samples of the last of them, and when they are ready.
        fn told(&mut self, now: UnixMs) -> Option<(usize, u32, Option<UnixMs>)> {
            let told = self.young.tell("novelty", &self.table, now);
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
        assert_eq!(rig.young.seen(0), Some(8));
        rig.young.begin_anew(&[(0, 8)].into());
        assert_eq!(rig.told(7000), Some((1, 8, None)));
        rig.show("a", 9, 1000);
        assert_eq!(rig.young.seen(0), Some(9));
        rig.show("a", 10, 1000);
        assert_eq!(rig.young.seen(0), None);
        rig.young.begin_anew(&HashMap::new());
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
        rig.young.count(&frame);
        assert_eq!(rig.told(1000), None);
        // Not told by a frame that it failed at: gone all the same.
        rig.show("b", 2, 1000);
        rig.table.forget(&mut frame, UnixMs::MAX);
        assert_eq!(rig.told(10_000), None);
    }

    #[test]
    fn a_detector_that_does_not_say_how_many_it_wants_is_not_waited_for() {
        let mut rig = Rig {
            young: Young::new(None),
            ..Rig::new()
        };
        rig.show("a", 1, 1000);
        assert_eq!(rig.told(0), None);
    }
}
