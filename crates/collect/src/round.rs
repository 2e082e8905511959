//! The answers of one signal's sources in one round, and the batches published from them.

use std::collections::{BTreeMap, BTreeSet};

use anomalyzer_domain::{Coverage, Labels, MetricBatch, Sample, Series, Target, UnixMs};

use super::{SignalConfig, SourceError};

/// Data that the sources reported for one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSeries {
    /// Number of sources that were asked, answered and failed.
    pub coverage: Coverage,
    /// Values by labels without `__name__`. Each label set occurs once.
    pub series: Vec<(Labels, f64)>,
    /// Label sets that will have a value later, but can't have one yet.
    pub withheld: BTreeSet<Labels>,
}

/// Data that the sources reported in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Data by target.
    pub targets: BTreeMap<Target, TargetSeries>,
    /// Coverage of every known target that is not in `targets`.
    pub otherwise: Coverage,
    /// Number of series without a target. The labels that the target's template needs are missing,
    /// or their values make no valid target.
    pub unattributed: usize,
    /// Reason why a source failed. If several sources failed, the reason of the first one.
    pub failure: Option<SourceError>,
}

/// Open series of one target.
#[derive(Clone, Debug)]
struct Known {
    series: BTreeSet<Labels>,
    last_spoken: UnixMs,
}

/// Targets and series that were published for one signal before. Each of these targets gets a batch
/// even if no source reports it.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder(BTreeMap<Target, Known>);

impl BatchBuilder {
    /// Makes one batch for each target that is known or was reported in `answer`.
    ///
    /// Closes a series with a stale marker, once, if it vanished from an answer in which no source
    /// failed. If a source failed, keeps all series open, because none of them is known to have
    /// ended. Withheld series stay open too.
    pub fn publish(
        &mut self,
        signal: &SignalConfig,
        forget_after: i64,
        at: UnixMs,
        mut answer: Answer,
    ) -> Vec<MetricBatch> {
        let fixed = signal.target.fixed();
        let new = answer
            .targets
            .keys()
            .chain(fixed)
            .filter(|target| !self.0.contains_key(target))
            .cloned();
        let new: Vec<Target> = new.collect();
        self.0.extend(new.into_iter().map(|target| {
            (
                target,
                Known {
                    series: BTreeSet::new(),
                    last_spoken: at,
                },
            )
        }));

        let mut batches = Vec::with_capacity(self.0.len());
        for (target, known) in &mut self.0 {
            let nothing = TargetSeries {
                coverage: answer.otherwise,
                ..TargetSeries::default()
            };
            let TargetSeries {
                coverage,
                series,
                withheld,
            } = answer.targets.remove(target).unwrap_or(nothing);
            let named = |labels: &Labels, sample| Series {
                labels: labels.with("__name__", &signal.name),
                samples: vec![sample],
            };
            let mut published: Vec<Series> = series
                .iter()
                .map(|(labels, value)| named(labels, Sample { at, value: *value }))
                .collect();
            let mut present: BTreeSet<Labels> =
                series.into_iter().map(|(labels, _)| labels).collect();
            if !present.is_empty() {
                known.last_spoken = at;
            }
            present.extend(withheld.intersection(&known.series).cloned());
            if coverage.failed == 0 {
                let ended = known.series.difference(&present);
                published.extend(ended.map(|labels| named(labels, Sample::stale_marker(at))));
                known.series = present;
            } else {
                known.series.extend(present);
            }
            batches.push(MetricBatch {
                signal: signal.name.clone(),
                target: Some(target.clone()),
                observed_at: at,
                coverage,
                series: published,
                foreign: false,
            });
        }
        self.0.retain(|target, known| {
            fixed == Some(target) || at.saturating_sub(known.last_spoken) <= forget_after
        });
        batches
    }

    /// Returns the number of open series.
    pub fn series(&self) -> usize {
        self.0.values().map(|known| known.series.len()).sum()
    }

    /// Returns the number of known targets.
    pub fn targets(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str) -> SignalConfig {
        let text = format!(
            "name = 's'\nsource = {{ query = 'q' }}\ntarget = {{ kind = 'Pod', name = '{name}' }}"
        );
        toml::from_str(&text).unwrap()
    }

    fn coverage(asked: u32, answered: u32, failed: u32) -> Coverage {
        Coverage {
            asked,
            answered,
            failed,
        }
    }

    fn answer(pod: &str, values: &[(&str, f64)], coverage: Coverage) -> Answer {
        let series = values
            .iter()
            .map(|(path, value)| (Labels::new([("path", *path)]), *value))
            .collect();
        let targets = [(
            Target::new("", "Pod", pod),
            TargetSeries {
                coverage,
                series,
                ..TargetSeries::default()
            },
        )]
        .into();
        Answer {
            targets,
            ..Answer::default()
        }
    }

    /// Returns path and value of each published series; a stale marker is shown as `gone`.
    fn shown(batch: &MetricBatch) -> Vec<String> {
        let shown = |series: &Series| {
            assert_eq!(series.labels.get("__name__"), Some("s"));
            let [sample] = series.samples[..] else {
                panic!("{series:?}")
            };
            let value = if sample.is_stale_marker() {
                "gone".to_owned()
            } else {
                sample.value.to_string()
            };
            format!("{} {value}", series.labels.get("path").unwrap())
        };
        batch.series.iter().map(shown).collect()
    }

    #[test]
    fn a_series_whose_value_is_withheld_goes_on() {
        let (signal, mut ledger) = (signal("p"), BatchBuilder::default());
        let labels = || Labels::new([("path", "/a")]);
        ledger.publish(
            &signal,
            10,
            1,
            answer("p", &[("/a", 1.0)], coverage(1, 1, 0)),
        );
        let mut later = answer("p", &[], coverage(2, 1, 0));
        later
            .targets
            .values_mut()
            .for_each(|spoken| spoken.withheld = [labels()].into());
        assert!(ledger.publish(&signal, 10, 2, later)[0].series.is_empty());
        let at_last = ledger.publish(&signal, 10, 3, answer("p", &[], coverage(2, 2, 0)));
        assert!(at_last[0].series[0].samples[0].is_stale_marker());
    }

    #[test]
    fn a_series_that_vanishes_from_an_answer_is_closed_once() {
        let (signal, mut ledger) = (signal("web"), BatchBuilder::default());
        let mut publish = |at, values: &[_]| {
            let batches = ledger.publish(&signal, 0, at, answer("web", values, coverage(1, 1, 0)));
            shown(&batches[0])
        };
        assert_eq!(publish(1, &[("/a", 1.0), ("/b", 2.0)]), ["/a 1", "/b 2"]);
        assert_eq!(publish(2, &[("/a", 1.0)]), ["/a 1", "/b gone"]);
        assert_eq!(publish(3, &[("/a", 1.0)]), ["/a 1"]);
        assert_eq!(publish(4, &[("/b", 3.0)]), ["/b 3", "/a gone"]);
    }

    #[test]
    fn where_somebody_failed_nothing_is_closed_and_the_coverage_says_who() {
        let (signal, mut ledger) = (signal("web"), BatchBuilder::default());
        ledger.publish(
            &signal,
            0,
            1,
            answer("web", &[("/a", 1.0), ("/b", 1.0)], coverage(2, 2, 0)),
        );
        let batches = ledger.publish(
            &signal,
            0,
            2,
            answer("web", &[("/a", 1.0)], coverage(2, 1, 1)),
        );
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec!["/a 1".to_owned()], coverage(2, 1, 1))
        );
        let failed = Answer {
            otherwise: coverage(2, 0, 2),
            ..Answer::default()
        };
        let batches = ledger.publish(&signal, 0, 3, failed);
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec![], coverage(2, 0, 2))
        );
        assert_eq!(ledger.series(), 2);
    }

    #[test]
    fn a_fixed_target_is_spoken_of_before_anyone_ever_answered() {
        let failed = Answer {
            otherwise: coverage(1, 0, 1),
            ..Answer::default()
        };
        let batches = BatchBuilder::default().publish(&signal("web"), 0, 1, failed);
        assert_eq!(batches.len(), 1);
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec![], coverage(1, 0, 1))
        );
    }

    #[test]
    fn a_target_that_nobody_speaks_for_is_forgotten_after_a_while() {
        let (signal, mut ledger) = (signal("{{pod}}"), BatchBuilder::default());
        ledger.publish(
            &signal,
            10,
            0,
            answer("web-1", &[("/a", 1.0)], coverage(1, 1, 0)),
        );
        let nothing = || Answer {
            otherwise: coverage(1, 0, 0),
            ..Answer::default()
        };
        assert_eq!(
            shown(&ledger.publish(&signal, 10, 5, nothing())[0]),
            ["/a gone"]
        );
        assert_eq!(ledger.publish(&signal, 10, 11, nothing()).len(), 1);
        assert_eq!(ledger.publish(&signal, 10, 12, nothing()).len(), 0);
    }
}
