//! The open series of one target, from one round to the next.

use std::collections::BTreeSet;

use anomalyzer_domain::{Labels, Sample};

use super::answer::TargetSeries;
use crate::moment::Moment;
use crate::reopenings::Reopenings;
use crate::series_limit::SeriesLimit;

/// Open series of one target.
#[derive(Clone, Debug)]
pub struct Known {
    /// Labels of the open series.
    pub series: BTreeSet<Labels>,
    /// Steady time at which the target last had a series.
    pub last_spoken: i64,
}

impl Known {
    /// Takes over the reported data. Returns the sample of each series, and a stale marker for each
    /// series that ended.
    pub fn update(
        &mut self,
        reported: TargetSeries,
        now: Moment,
        limit: &SeriesLimit<()>,
        reopenings: &mut Reopenings,
    ) -> Vec<(Labels, Sample)> {
        let TargetSeries {
            coverage,
            series,
            withheld,
        } = reported;
        let at = now.wall;
        let mut present: BTreeSet<Labels> =
            series.iter().map(|(labels, _)| labels.clone()).collect();
        let mut published: Vec<(Labels, Sample)> = series
            .into_iter()
            .map(|(labels, value)| (labels, Sample { at, value }))
            .collect();
        if !present.is_empty() {
            self.last_spoken = now.steady;
        }
        for labels in present.difference(&self.series) {
            reopenings.begin(labels, now.steady);
        }
        present.extend(withheld.intersection(&self.series).cloned());
        let has_ended = |labels: &Labels| coverage.failed == 0 || !limit.has(labels);
        let known = std::mem::take(&mut self.series);
        for labels in known {
            if present.contains(&labels) {
                continue;
            }
            if has_ended(&labels) {
                reopenings.end(&labels, now.steady);
                published.push((labels, Sample::stale_marker(at)));
            } else {
                present.insert(labels);
            }
        }
        self.series = present;
        published
    }
}
