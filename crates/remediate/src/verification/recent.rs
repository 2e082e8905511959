//! The newest samples of each signal's targets: what evidence, guard and verification look at.

use parking_lot::RwLock;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anomalyzer_domain::{Coverage, Labels, MetricBatch, Sample, Series, Target, UnixMs};

/// Samples kept per series, and rounds per signal and target.
const KEPT: usize = 240;
/// Series kept per signal and target.
const MOST_SERIES: usize = 256;
/// Signals and targets kept.
const MOST_STREAMS: usize = 20_000;
/// So many make room at once when there is none, so that they are not looked through for each one
/// that is new.
const ROOM: usize = MOST_STREAMS / 16;
/// A series that is not heard of for this long is forgotten.
const FORGET_AFTER_MS: i64 = 60 * 60 * 1000;

#[derive(Default)]
struct Stream {
    /// Who answered, round by round, oldest first.
    rounds: VecDeque<(UnixMs, Coverage)>,
    heard_at: UnixMs,
    foreign: bool,
    series: HashMap<Labels, VecDeque<Sample>>,
}

type Streams = HashMap<(String, Target), Stream>;

/// The newest samples, bounded, shared between the parts that read them.
#[derive(Clone, Default)]
pub struct Recent {
    streams: Arc<RwLock<Streams>>,
    evicted: Arc<AtomicU64>,
}

/// How full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RecentStatus {
    /// Signals and targets whose samples are at hand.
    pub streams: usize,
    /// How many may be.
    pub capacity: usize,
    /// How many had to make room for others.
    pub evicted: u64,
}

impl Recent {
    /// Takes a batch in. Who is new and finds no room gets that of those that nothing was heard of
    /// for longest, someone else's first.
    pub fn take(&self, batch: &MetricBatch) {
        let Some(target) = &batch.target else { return };
        let mut streams = self.streams.write();
        let key = (batch.signal.clone(), target.clone());
        if streams.len() >= MOST_STREAMS && !streams.contains_key(&key) {
            let evicted = make_room(&mut streams);
            if self.evicted.fetch_add(evicted, Relaxed) == 0 {
                tracing::warn!(
                    most = MOST_STREAMS,
                    "there are more signals and targets than are kept at hand"
                );
            }
        }
        let stream = streams.entry(key).or_default();
        // Of rounds that come late or twice the first word counts, as with samples.
        if stream
            .rounds
            .back()
            .is_none_or(|(last, _)| batch.observed_at > *last)
        {
            stream.rounds.push_back((batch.observed_at, batch.coverage));
        }
        while stream.rounds.len() > KEPT {
            stream.rounds.pop_front();
        }
        stream.heard_at = stream.heard_at.max(batch.observed_at);
        stream.foreign = batch.foreign;
        for series in &batch.series {
            if !stream.series.contains_key(&series.labels) && stream.series.len() >= MOST_SERIES {
                let newest = |kept: &VecDeque<Sample>| kept.back().map(|sample| sample.at);
                let idle = stream
                    .series
                    .iter()
                    .min_by_key(|(_, kept)| newest(kept))
                    .map(|(labels, _)| labels.clone());
                if let Some(idle) = idle {
                    stream.series.remove(&idle);
                }
            }
            let kept = stream.series.entry(series.labels.clone()).or_default();
            for sample in &series.samples {
                let newer = kept.back().is_none_or(|last| sample.at > last.at);
                if newer && sample.value.is_finite() {
                    kept.push_back(*sample);
                }
            }
            while kept.len() > KEPT {
                kept.pop_front();
            }
        }
        let oldest = batch.observed_at.saturating_sub(FORGET_AFTER_MS);
        stream
            .series
            .retain(|_, kept| kept.back().is_some_and(|last| last.at >= oldest));
    }

    /// How full it is.
    pub fn status(&self) -> RecentStatus {
        let streams = self.streams.read().len();
        RecentStatus {
            streams,
            capacity: MOST_STREAMS,
            evicted: self.evicted.load(Relaxed),
        }
    }

    /// The samples of a signal's target within `from..=to`, per series.
    pub fn samples(&self, signal: &str, target: &Target, from: UnixMs, to: UnixMs) -> Vec<Series> {
        let streams = self.streams.read();
        let Some(stream) = streams.get(&(signal.to_owned(), target.clone())) else {
            return vec![];
        };
        let mut all: Vec<Series> = stream
            .series
            .iter()
            .map(|(labels, kept)| Series {
                labels: labels.clone(),
                samples: kept
                    .iter()
                    .filter(|sample| (from..=to).contains(&sample.at))
                    .copied()
                    .collect(),
            })
            .filter(|series| !series.samples.is_empty())
            .collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    /// Who answered in each round within `from..=to`, oldest first.
    pub fn rounds(&self, signal: &str, target: &Target, from: UnixMs, to: UnixMs) -> Vec<Coverage> {
        let streams = self.streams.read();
        let Some(stream) = streams.get(&(signal.to_owned(), target.clone())) else {
            return vec![];
        };
        stream
            .rounds
            .iter()
            .filter(|(at, _)| (from..=to).contains(at))
            .map(|(_, coverage)| *coverage)
            .collect()
    }

    /// Who answered last, and when the newest sample was taken.
    pub fn coverage(&self, signal: &str, target: &Target) -> Option<(Coverage, Option<UnixMs>)> {
        let streams = self.streams.read();
        let stream = streams.get(&(signal.to_owned(), target.clone()))?;
        let newest = stream
            .series
            .values()
            .filter_map(|kept| kept.back())
            .map(|sample| sample.at)
            .max();
        let (_, coverage) = stream.rounds.back()?;
        Some((*coverage, newest))
    }
}

/// Forgets those that nothing was heard of for longest. Says how many.
fn make_room(streams: &mut Streams) -> u64 {
    let mut idle: Vec<_> = streams
        .iter()
        .map(|(key, stream)| ((!stream.foreign, stream.heard_at), key.clone()))
        .collect();
    let many = ROOM.min(idle.len());
    if many > 0 && many < idle.len() {
        idle.select_nth_unstable_by_key(many, |(heard, _)| *heard);
    }
    for (_, key) in &idle[..many] {
        streams.remove(key);
    }
    many as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(name: &str, labels: &str, at: UnixMs, foreign: bool) -> MetricBatch {
        MetricBatch {
            signal: "latency".to_owned(),
            target: Some(Target::new("", "Process", name)),
            observed_at: at,
            coverage: Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            },
            series: vec![Series {
                labels: Labels::new([("pod", labels)]),
                samples: vec![Sample { at, value: 1.0 }],
            }],
            foreign,
        }
    }

    fn newest(recent: &Recent, name: &str) -> Option<UnixMs> {
        recent
            .coverage("latency", &Target::new("", "Process", name))?
            .1
    }

    #[test]
    fn rounds_without_samples_are_remembered_for_who_did_not_answer() {
        let recent = Recent::default();
        let target = Target::new("shop", "Deployment", "web");
        let round = |at: UnixMs, answered: u32| {
            let samples = if answered > 0 {
                vec![Sample { at, value: 1.0 }]
            } else {
                vec![]
            };
            recent.take(&MetricBatch {
                signal: "latency".into(),
                target: Some(target.clone()),
                observed_at: at,
                coverage: Coverage {
                    asked: 2,
                    answered,
                    failed: 2 - answered,
                },
                series: vec![Series {
                    labels: Labels::default(),
                    samples,
                }],
                foreign: false,
            });
        };
        round(10, 2);
        round(20, 0);
        round(30, 1);
        let answered = |from, to| -> Vec<u32> {
            recent
                .rounds("latency", &target, from, to)
                .iter()
                .map(|coverage| coverage.answered)
                .collect()
        };
        assert_eq!(
            (answered(0, 100), answered(15, 25)),
            (vec![2, 0, 1], vec![0])
        );
        let (last, newest) = recent.coverage("latency", &target).unwrap();
        assert_eq!((last.answered, newest), (1, Some(30)));
        // A flood of rounds stays bounded.
        (40..2_000).for_each(|at| round(at, 2));
        assert_eq!(answered(0, 2_000).len(), KEPT);
    }

    #[test]
    fn a_new_stream_finds_room_for_which_the_idle_go_and_those_of_others_before_them() {
        let recent = Recent::default();
        recent.take(&batch("old", "a", 1, false));
        for number in 1..MOST_STREAMS {
            recent.take(&batch(&number.to_string(), "a", 2 + number as UnixMs, true));
        }
        assert_eq!(
            recent.status(),
            RecentStatus {
                streams: MOST_STREAMS,
                capacity: MOST_STREAMS,
                evicted: 0
            }
        );
        let now = 1_000_000;
        recent.take(&batch("new", "a", now, true));
        assert_eq!(
            (newest(&recent, "new"), newest(&recent, "old")),
            (Some(now), Some(1))
        );
        assert_eq!(
            (newest(&recent, "1"), newest(&recent, "19999")),
            (None, Some(20_001))
        );
        let status = recent.status();
        assert_eq!(
            (status.streams, status.evicted),
            (MOST_STREAMS - ROOM + 1, ROOM as u64)
        );
    }

    #[test]
    fn a_new_series_of_a_stream_finds_the_room_of_the_one_that_is_idle() {
        let recent = Recent::default();
        for number in 0..=MOST_SERIES {
            recent.take(&batch("web", &number.to_string(), number as UnixMs, false));
        }
        let series = recent.samples(
            "latency",
            &Target::new("", "Process", "web"),
            0,
            UnixMs::MAX,
        );
        assert_eq!(series.len(), MOST_SERIES);
        assert_eq!(newest(&recent, "web"), Some(MOST_SERIES as UnixMs));
        assert!(
            series
                .iter()
                .all(|series| series.labels.get("pod") != Some("0"))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
            let recent = Recent::default();
            times.into_iter().for_each(|at| recent.take(&batch("web", "a", at, false)));
        }
    }
}
