//! Derives the values of one signal from the samples of its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anomalyzer_domain::{Coverage, Target};

use super::super::moment::Moment;
use super::super::round::{Answer, Intake, TargetSeries};
use super::super::series_limit::SeriesLimit;
use super::super::{SignalConfig, SignalSource};
use super::parts::{Parts, Pending, SourceParts, collect_parts, concerns, value};
use super::store::{Source, SourceKey, Store, metrics};

/// Memory of one signal over the rounds.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Targets for which each source last had a value. When the source fails, these are the targets
    /// that miss it.
    targets: BTreeMap<SourceKey, BTreeSet<Target>>,
    /// Bound of the series that each source brings.
    limit: SeriesLimit<SourceKey>,
}

impl Memory {
    /// Creates the memory of a signal to which each source brings `series_limit` series.
    pub fn new(series_limit: usize, forget_after: Duration) -> Self {
        Self {
            targets: BTreeMap::new(),
            limit: SeriesLimit::new(series_limit, forget_after),
        }
    }

    /// Returns the number of series that the last round left out, and the first source that brought
    /// some of them.
    pub fn surplus(&self) -> (usize, Option<&SourceKey>) {
        let surplus = self.limit.surplus();
        (surplus.values().sum(), surplus.keys().next())
    }
}

/// Memory without a bound.
impl Default for Memory {
    fn default() -> Self {
        Self::new(usize::MAX, Duration::MAX)
    }
}

/// Values of one target, and its coverage.
#[derive(Clone, Debug, Default)]
struct TargetParts {
    coverage: Coverage,
    parts: Parts,
    pending: Pending,
}

/// Derives a signal from the samples of all sources, as of `now`.
pub fn evaluate(signal: &SignalConfig, store: &Store, memory: &mut Memory, now: Moment) -> Answer {
    let asked: Vec<_> = store
        .sources()
        .filter(|(_, source)| concerns(&signal.source, source))
        .collect();
    memory.limit.begin(now.instant());
    memory
        .targets
        .retain(|key, _| asked.iter().any(|(known, _)| *known == key));

    let mut targets: BTreeMap<Target, TargetParts> = BTreeMap::new();
    let mut unattributed = 0;
    for (key, source) in &asked {
        unattributed += add_source(signal, (key, source), now, memory, &mut targets);
    }

    let mut failures = asked
        .iter()
        .filter_map(|(_, source)| source.failure.clone());
    let failure = failures.next();
    let failed = count(failures.count() + usize::from(failure.is_some()));
    Answer {
        targets: targets
            .into_iter()
            .map(|(target, parts)| (target, parts.into_series(&signal.source)))
            .collect(),
        // The targets of a source without any values are not known. The source therefore counts for
        // every target that no source reported.
        otherwise: Coverage {
            asked: count(asked.len()),
            answered: 0,
            failed,
        },
        unattributed,
        failure,
        damage: asked
            .iter()
            .filter_map(|(_, source)| source.unusable.clone())
            .collect(),
        intake: intake(&signal.source, asked.iter().map(|(_, source)| *source)),
        ..Answer::default()
    }
}

/// Adds up the samples behind a signal in the last scrapes.
fn intake<'a>(signal: &SignalSource, sources: impl Iterator<Item = &'a Source>) -> Intake {
    let metrics = metrics(signal);
    let mut sum = Intake::default();
    for source in sources.filter(|source| source.failure.is_none()) {
        for metric in &metrics {
            let Intake { kept, late, future } = source.intake(metric);
            sum.kept += kept;
            sum.late += late;
            sum.future += future;
        }
    }
    sum
}

/// Adds the values of one source to its targets. Leaves out series beyond the limit. Returns the
/// number of values without a target.
fn add_source(
    signal: &SignalConfig,
    (key, source): (&SourceKey, &Source),
    now: Moment,
    memory: &mut Memory,
    targets: &mut BTreeMap<Target, TargetParts>,
) -> usize {
    let (instant, limit) = (now.instant(), &mut memory.limit);
    let remembered = memory.targets.entry(key.clone()).or_default();
    let answered = source.failure.is_none();
    let SourceParts { parts, pending } = if answered {
        collect_parts(&signal.source, source, now)
    } else {
        SourceParts::default()
    };
    let mut unattributed = 0;
    let mut reported: BTreeMap<Target, Parts> = BTreeMap::new();
    for (labels, part) in parts {
        match signal.target.render(&labels) {
            Some(target) if limit.admit(key, &labels, instant) => reported
                .entry(target)
                .or_default()
                .entry(labels)
                .or_default()
                .join(part),
            Some(_) => {}
            None => unattributed += 1,
        }
    }
    if !reported.is_empty() {
        *remembered = reported.keys().cloned().collect();
    }
    let mut missed = remembered.clone();
    missed.extend(signal.target.render(&source.labels));
    for (labels, goes_on) in pending {
        if let Some(target) = signal.target.render(&labels)
            && limit.admit(key, &labels, instant)
        {
            missed.insert(target.clone());
            let pending = &mut targets.entry(target).or_default().pending;
            *pending.entry(labels).or_default() |= goes_on;
        }
    }
    missed.retain(|target| !reported.contains_key(target));
    for target in missed {
        let coverage = &mut targets.entry(target).or_default().coverage;
        coverage.asked += 1;
        coverage.failed += u32::from(!answered);
    }
    for (target, parts) in reported {
        let known = targets.entry(target).or_default();
        known.coverage.asked += 1;
        known.coverage.answered += 1;
        for (labels, part) in parts {
            known.parts.entry(labels).or_default().join(part);
        }
    }
    unattributed
}

impl TargetParts {
    /// Computes the values of the series from their parts.
    fn into_series(self, of: &SignalSource) -> TargetSeries {
        let Self {
            coverage,
            parts,
            pending,
        } = self;
        let series = parts.into_iter().filter_map(|(labels, part)| {
            // A missing part must not count as zero.
            let whole = coverage.failed == 0 && !pending.contains_key(&labels);
            Some((labels, value(of, part, whole)?))
        });
        let series = series.collect();
        let withheld = pending.into_iter().filter(|(_, goes_on)| *goes_on);
        TargetSeries {
            coverage,
            series,
            withheld: withheld.map(|(labels, _)| labels).collect(),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
