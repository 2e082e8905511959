//! Newest samples per signal and target, for the evidence, the guard and the verification.

use parking_lot::RwLock;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anomalyzer_domain::{Coverage, Labels, MetricBatch, Sample, Series, Target, UnixMs};

/// Maximum number of samples per series, and of rounds per signal and target.
const MAX_SAMPLES: usize = 240;
/// Maximum number of series per signal and target.
const MAX_SERIES: usize = 256;
/// Maximum number of streams: pairs of a signal and a target.
const MAX_STREAMS: usize = 20_000;
/// Number of streams evicted at once. A single eviction per new stream would search all streams
/// each time.
const EVICTION_BATCH: usize = MAX_STREAMS / 16;
/// Age after which a series without a new sample is dropped, in milliseconds.
const SERIES_TIMEOUT_MS: i64 = 60 * 60 * 1000;

/// Lateness in milliseconds above which a round shows that the clock of the collector was set back.
const MAX_LATE_MS: i64 = 60 * 1000;

/// Samples of one signal of one target.
#[derive(Default)]
struct Stream {
    /// Time and coverage of each round, oldest first.
    rounds: VecDeque<(UnixMs, Coverage)>,
    heard_at: UnixMs,
    foreign: bool,
    series: HashMap<Labels, VecDeque<Sample>>,
}

impl Stream {
    /// Drops the rounds and samples after `now` if the clock of the collector was set back. They
    /// would otherwise count as the newest ones until the clock reaches their times.
    fn follow_clock(&mut self, now: UnixMs) {
        let newest = self.rounds.back().map(|(at, _)| *at);
        if newest.is_none_or(|newest| newest.saturating_sub(now) <= MAX_LATE_MS) {
            return;
        }
        self.heard_at = now;
        self.rounds.retain(|(at, _)| *at < now);
        for kept in self.series.values_mut() {
            kept.retain(|sample| sample.at < now);
        }
    }
}

type Streams = HashMap<(String, Target), Stream>;

/// Newest samples. Their number is bounded, and clones share them.
#[derive(Clone, Default)]
pub struct RecentSamples {
    streams: Arc<RwLock<Streams>>,
    evicted: Arc<AtomicU64>,
}

/// Fill level of [`RecentSamples`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RecentStatus {
    /// Number of streams: pairs of a signal and a target.
    pub streams: usize,
    /// Maximum number of streams.
    pub capacity: usize,
    /// Number of streams evicted so far.
    pub evicted: u64,
}

impl RecentSamples {
    /// Takes in a batch. If there is no room for a new stream, the streams that were silent for
    /// longest are evicted, streams of other producers first.
    pub fn take(&self, batch: &MetricBatch) {
        let Some(target) = &batch.target else { return };
        let mut streams = self.streams.write();
        let key = (batch.signal.clone(), target.clone());
        if streams.len() >= MAX_STREAMS && !streams.contains_key(&key) {
            let evicted = evict_idle(&mut streams);
            if self.evicted.fetch_add(evicted, Relaxed) == 0 {
                tracing::warn!(
                    capacity = MAX_STREAMS,
                    "too many signals and targets: evicting the samples of idle ones"
                );
            }
        }
        let stream = streams.entry(key).or_default();
        if !batch.foreign {
            stream.follow_clock(batch.observed_at);
        }
        // A round that arrives late or twice is ignored, as with samples.
        if stream
            .rounds
            .back()
            .is_none_or(|(last, _)| batch.observed_at > *last)
        {
            stream.rounds.push_back((batch.observed_at, batch.coverage));
        }
        while stream.rounds.len() > MAX_SAMPLES {
            stream.rounds.pop_front();
        }
        stream.heard_at = stream.heard_at.max(batch.observed_at);
        stream.foreign = batch.foreign;
        for series in &batch.series {
            if !stream.series.contains_key(&series.labels) && stream.series.len() >= MAX_SERIES {
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
            while kept.len() > MAX_SAMPLES {
                kept.pop_front();
            }
        }
        let oldest = batch.observed_at.saturating_sub(SERIES_TIMEOUT_MS);
        stream
            .series
            .retain(|_, kept| kept.back().is_some_and(|last| last.at >= oldest));
    }

    /// Returns the fill level.
    pub fn status(&self) -> RecentStatus {
        let streams = self.streams.read().len();
        RecentStatus {
            streams,
            capacity: MAX_STREAMS,
            evicted: self.evicted.load(Relaxed),
        }
    }

    /// Returns the samples of a signal of a target within `from..=to`, per series.
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

    /// Returns the coverage of each round within `from..=to`, oldest first.
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

    /// Returns the coverage of the last round, and the time of the newest sample.
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

/// Evicts the streams that were silent for longest. Returns their number.
fn evict_idle(streams: &mut Streams) -> u64 {
    let mut idle: Vec<_> = streams
        .iter()
        .map(|(key, stream)| ((!stream.foreign, stream.heard_at), key.clone()))
        .collect();
    let many = EVICTION_BATCH.min(idle.len());
    if many > 0 && many < idle.len() {
        idle.select_nth_unstable_by_key(many, |(heard, _)| *heard);
    }
    for (_, key) in &idle[..many] {
        streams.remove(key);
    }
    many as u64
}

#[cfg(test)]
mod tests;
