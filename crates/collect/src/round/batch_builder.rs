//! The batches of one signal in one round, made from the answers of its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anomalyzer_domain::{Labels, MetricBatch, Sample, Series, Target, millis};

use super::answer::{Answer, TargetSeries};
use super::open_series::Known;
use super::wall_clock::WallClock;
use crate::SignalConfig;
use crate::moment::Moment;
use crate::reopenings::Reopenings;
use crate::series_limit::SeriesLimit;

/// Maximum number of characters of labels in a message.
pub const MAX_SHOWN_LABELS: usize = 200;

/// Bounds of one signal.
#[derive(Clone, Copy, Debug)]
pub struct PublishBounds {
    /// Maximum number of targets.
    pub max_targets: usize,
    /// Maximum number of series.
    pub max_series: usize,
    /// Time after which a target without series, and the place of a series that ended, is free.
    pub forget_after: Duration,
}

/// Targets and series that were published for one signal before. Each of these targets gets a batch
/// even if no source reports it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    bounds: PublishBounds,
    known: BTreeMap<Target, Known>,
    limit: SeriesLimit<()>,
    reopenings: Reopenings,
    clock: WallClock,
    /// Number of series and targets of the last answer beyond the maximum.
    surplus: usize,
    /// Number of series of the last answer whose labels can't be used.
    refused: usize,
    /// The first of these series, and the reason.
    first_refused: Option<String>,
}

impl BatchBuilder {
    /// Creates a builder that has published nothing yet.
    pub fn new(bounds: PublishBounds) -> Self {
        Self {
            bounds,
            known: BTreeMap::new(),
            limit: SeriesLimit::new(bounds.max_series, bounds.forget_after),
            reopenings: Reopenings::default(),
            clock: WallClock::default(),
            surplus: 0,
            refused: 0,
            first_refused: None,
        }
    }

    /// Makes one batch for each target that is known or was reported in `answer`.
    ///
    /// Closes a series with a stale marker, once, if it vanished from an answer in which no source
    /// failed. If a source failed, keeps all series open, because none of them is known to have
    /// ended, until they have been gone for long. Withheld series stay open too. If the wall clock
    /// was set back, closes all series and begins those with a value anew, because consumers would
    /// drop their samples as late.
    pub fn publish(
        &mut self,
        signal: &SignalConfig,
        now: Moment,
        mut answer: Answer,
    ) -> Vec<MetricBatch> {
        let begins_anew = self.clock.is_set_back(now);
        let fixed = signal.target.fixed();
        self.refuse(&mut answer);
        self.bound(&mut answer, fixed, now);
        let stale = Sample::stale_marker(now.wall);
        let mut batches = Vec::with_capacity(self.known.len());
        for (target, known) in &mut self.known {
            let nothing = TargetSeries {
                coverage: answer.otherwise,
                ..TargetSeries::default()
            };
            let reported = answer.targets.remove(target).unwrap_or(nothing);
            let coverage = reported.coverage;
            let mut closed = match begins_anew {
                true => std::mem::take(&mut known.series),
                false => BTreeSet::new(),
            };
            let mut series = Vec::new();
            let published = known.update(reported, now, &self.limit, &mut self.reopenings);
            for (labels, sample) in published {
                let samples = match closed.remove(&labels) {
                    true => vec![stale, sample],
                    false => vec![sample],
                };
                series.push((labels, samples));
            }
            series.extend(closed.into_iter().map(|labels| (labels, vec![stale])));
            let named = |(labels, samples): (Labels, Vec<Sample>)| Series {
                labels: labels.with("__name__", &signal.name),
                samples,
            };
            batches.push(MetricBatch {
                signal: signal.name.clone(),
                target: Some(target.clone()),
                observed_at: now.wall,
                coverage,
                series: series.into_iter().map(named).collect(),
                foreign: false,
            });
        }
        let forget_after = millis(self.bounds.forget_after);
        self.known.retain(|target, known| {
            fixed == Some(target) || now.steady.saturating_sub(known.last_spoken) <= forget_after
        });
        self.reopenings.forget(now.steady, forget_after);
        batches
    }

    /// Leaves out the series whose labels can't be used. The labels of known series were checked
    /// before.
    fn refuse(&mut self, answer: &mut Answer) {
        (self.refused, self.first_refused) = (0, None);
        for reported in answer.targets.values_mut() {
            reported.series.retain(|(labels, _)| {
                let checked = match self.limit.has(labels) {
                    true => Ok(()),
                    false => labels.check(),
                };
                if let Err(error) = &checked {
                    self.refused += 1;
                    self.first_refused.get_or_insert_with(|| {
                        format!("{} {error}", labels.excerpt(MAX_SHOWN_LABELS))
                    });
                }
                checked.is_ok()
            });
        }
    }

    /// Adds the new targets, and leaves out the targets and series of an answer beyond the maximum.
    /// Known targets with series, and known series, keep their place.
    fn bound(&mut self, answer: &mut Answer, fixed: Option<&Target>, now: Moment) {
        self.surplus = 0;
        let new: BTreeSet<Target> = answer
            .targets
            .keys()
            .chain(fixed)
            .filter(|target| !self.known.contains_key(target))
            .cloned()
            .collect();
        let excess = (self.known.len() + new.len()).saturating_sub(self.bounds.max_targets);
        if excess > 0 {
            self.evict(excess, answer, fixed);
        }
        for target in new {
            if self.known.len() < self.bounds.max_targets {
                let known = Known {
                    series: BTreeSet::new(),
                    last_spoken: now.steady,
                };
                self.known.insert(target, known);
            } else if let Some(left_out) = answer.targets.remove(&target) {
                self.surplus += left_out.series.len().max(1);
            }
        }
        let instant = now.instant();
        self.limit.begin(instant);
        for reported in answer.targets.values_mut() {
            let limit = &mut self.limit;
            let before = reported.series.len();
            reported
                .series
                .retain(|(labels, _)| limit.admit(&(), labels, instant));
            self.surplus += before - reported.series.len();
        }
    }

    /// Forgets up to `count` targets that have no series, those that were silent for longest first.
    fn evict(&mut self, count: usize, answer: &Answer, fixed: Option<&Target>) {
        let mut idle: Vec<(i64, Target)> = self
            .known
            .iter()
            .filter(|(target, known)| {
                known.series.is_empty()
                    && fixed != Some(target)
                    && !answer.targets.contains_key(target)
            })
            .map(|(target, known)| (known.last_spoken, target.clone()))
            .collect();
        idle.sort();
        for (_, target) in idle.into_iter().take(count) {
            self.known.remove(&target);
        }
    }

    /// Returns the bounds.
    pub fn bounds(&self) -> PublishBounds {
        self.bounds
    }

    /// Returns the number of open series.
    pub fn series(&self) -> usize {
        self.known.values().map(|known| known.series.len()).sum()
    }

    /// Returns the number of known targets.
    pub fn targets(&self) -> usize {
        self.known.len()
    }

    /// Returns the number of series and targets of the last answer beyond the maximum.
    pub fn surplus(&self) -> usize {
        self.surplus
    }

    /// Describes the series of the last answer whose labels can't be used.
    pub fn refused(&self) -> Option<(usize, &str)> {
        Some((self.refused, self.first_refused.as_deref()?))
    }

    /// Returns the series that end and begin again and again.
    pub fn reopenings(&self) -> &Reopenings {
        &self.reopenings
    }
}

#[cfg(test)]
mod tests;
