//! Parts of the values of a signal: the values that one source contributes, and their combination.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::quantile::{Bucket, quantile};
use super::store::{Source, bucket_metric};
use crate::moment::Moment;
use crate::{Aggregate, Selector, SignalSource};
use anomalyzer_domain::Labels;

/// Values of one source or of several sources under the same labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    values: Vec<f64>,
    numerator: f64,
    denominator: f64,
    buckets: Buckets,
}

/// Counts of observations by the bits of the bucket's bound. A body may have any number of buckets.
type Buckets = HashMap<u64, f64>;

fn add_bucket(buckets: &mut Buckets, bound: f64, count: f64) {
    // Adding 0 turns -0 into 0.
    *buckets.entry((bound + 0.0).to_bits()).or_default() += count;
}

impl Part {
    pub(super) fn join(&mut self, other: Self) {
        self.values.extend(other.values);
        self.numerator += other.numerator;
        self.denominator += other.denominator;
        for (bound, count) in other.buckets {
            *self.buckets.entry(bound).or_default() += count;
        }
    }
}

pub(super) type Parts = BTreeMap<Labels, Part>;

/// Labels without a value. They map to true if their series go on: a counter that was seen once
/// will soon have a rate, and a series whose samples were dropped has not ended. A gauge that is
/// too old means that its series has ended.
pub(super) type Pending = BTreeMap<Labels, bool>;

/// Values of one source, and the labels that have none.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceParts {
    pub(super) parts: Parts,
    pub(super) pending: Pending,
}

/// Returns true if the source can have samples of the signal.
pub(super) fn concerns(signal: &SignalSource, source: &Source) -> bool {
    let may = |selector: &Selector| selector.may_match(&source.labels);
    match signal {
        SignalSource::Query(_) => false,
        SignalSource::Gauge(gauge) => may(&gauge.of),
        SignalSource::Rate(rate) => may(&rate.of),
        SignalSource::Ratio(ratio) => may(&ratio.of) && may(&ratio.over),
        SignalSource::Quantile(quantile) => may(&quantile.of),
    }
}

/// Derives the values of one source.
pub(super) fn collect_parts(signal: &SignalSource, source: &Source, now: Moment) -> SourceParts {
    let SourceParts {
        mut parts,
        mut pending,
    } = SourceParts::default();
    let mut take = |labels: Labels, value: Option<f64>, goes_on: bool| match value {
        Some(value) => parts.entry(labels).or_default().values.push(value),
        None => *pending.entry(labels).or_default() |= goes_on,
    };
    match signal {
        SignalSource::Query(_) => {}
        SignalSource::Gauge(gauge) => {
            for (labels, points) in source
                .series(&gauge.of.metric)
                .filter(|(labels, _)| gauge.of.matches(labels))
            {
                let current = points.current(now).map(|newest| newest.value);
                take(kept(labels, &gauge.by), current, points.is_empty());
            }
        }
        SignalSource::Rate(rate) => {
            for (labels, per_second) in rates(source, &rate.of, rate.window, now) {
                take(kept(labels, &rate.by), per_second, true);
            }
        }
        SignalSource::Ratio(ratio) => {
            let sums = |selector| {
                let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
                let rates = rates(source, selector, ratio.window, now);
                for (labels, per_second) in rates.filter_map(|(labels, rate)| Some((labels, rate?)))
                {
                    *sums.entry(kept(labels, &ratio.by)).or_default() += per_second;
                }
                sums
            };
            let mut below = sums(&ratio.over);
            for (labels, numerator) in sums(&ratio.of) {
                // A source that has only one of the two rates has no ratio.
                if let Some(denominator) = below.remove(&labels) {
                    parts.insert(
                        labels,
                        Part {
                            numerator,
                            denominator,
                            ..Part::default()
                        },
                    );
                }
            }
        }
        SignalSource::Quantile(of) => {
            let selector = of.of.of_metric(bucket_metric(&of.of.metric));
            for (labels, points) in source
                .series(&selector.metric)
                .filter(|(labels, _)| selector.matches(labels))
            {
                let bound = labels.get("le").and_then(|bound| bound.parse().ok());
                if let (Some(bound), Some(growth)) = (bound, points.growth(now, of.window)) {
                    let buckets = &mut parts.entry(kept(labels, &of.by)).or_default().buckets;
                    add_bucket(buckets, bound, growth.by);
                }
            }
        }
    }
    // A new series next to older ones with the same kept labels is treated like one after a
    // restart. Labels are pending only if none of their series has a value yet.
    pending.retain(|labels, _| !parts.contains_key(labels));
    SourceParts { parts, pending }
}

/// Returns each counter that the selector matches. The rate is `None` if the counter was not seen
/// often enough.
fn rates<'a>(
    source: &'a Source,
    selector: &'a Selector,
    window: Duration,
    now: Moment,
) -> impl Iterator<Item = (&'a Labels, Option<f64>)> {
    let meant = source
        .series(&selector.metric)
        .filter(|(labels, _)| selector.matches(labels));
    meant.map(move |(labels, points)| {
        let growth = points.growth(now, window);
        (labels, growth.map(|growth| growth.rate()))
    })
}

fn kept(labels: &Labels, by: &[String]) -> Labels {
    Labels::new(
        by.iter()
            .filter_map(|name| Some((name.as_str(), labels.get(name)?))),
    )
}

/// Combines the values of all sources. `whole` is true if no source is missing.
pub(super) fn value(signal: &SignalSource, part: Part, whole: bool) -> Option<f64> {
    let aggregated = |aggregate| {
        let values = part.values.iter().copied();
        // `f64::max` would ignore a NaN, as if its source had no value.
        let extreme = |better: fn(f64, f64) -> f64| {
            part.values.iter().copied().reduce(|a, b| {
                if a.is_nan() || b.is_nan() {
                    f64::NAN
                } else {
                    better(a, b)
                }
            })
        };
        match aggregate {
            _ if part.values.is_empty() => None,
            Aggregate::Sum => whole.then(|| values.sum()),
            Aggregate::Avg => Some(values.sum::<f64>() / part.values.len() as f64),
            Aggregate::Max => extreme(f64::max),
            Aggregate::Min => extreme(f64::min),
        }
    };
    match signal {
        SignalSource::Query(_) => None,
        SignalSource::Gauge(gauge) => aggregated(gauge.aggregate),
        SignalSource::Rate(rate) => aggregated(rate.aggregate),
        SignalSource::Ratio(_) => {
            (part.denominator > 0.0).then(|| part.numerator / part.denominator)
        }
        SignalSource::Quantile(of) => {
            let buckets = part.buckets.into_iter().map(|(bound, count)| Bucket {
                bound: f64::from_bits(bound),
                count,
            });
            quantile(of.q, buckets.collect())
        }
    }
}
