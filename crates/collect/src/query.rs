//! Queries Prometheus for one signal in one round.

use std::collections::BTreeMap;
use std::time::Duration;

use anomalyzer_domain::{Coverage, Labels, Target, UnixMs};
use anomalyzer_http_source::Prometheus;

use super::prometheus::all_differ;
use super::round::{Answer, TargetSeries};
use super::{SignalConfig, SignalSource, SourceError};

/// Asks Prometheus for a signal that is queried every `interval`.
pub async fn ask(
    prometheus: &Prometheus,
    signal: &SignalConfig,
    at: UnixMs,
    interval: Duration,
) -> Answer {
    let SignalSource::Query(promql) = &signal.source else {
        return Answer::default();
    };
    match answer(prometheus, promql, signal, at, interval).await {
        Ok(answered) => answered,
        Err(error) => Answer {
            otherwise: Coverage {
                asked: 1,
                answered: 0,
                failed: 1,
            },
            failure: Some(error),
            ..Answer::default()
        },
    }
}

async fn answer(
    prometheus: &Prometheus,
    promql: &str,
    signal: &SignalConfig,
    at: UnixMs,
    interval: Duration,
) -> Result<Answer, SourceError> {
    let (values, sources) = tokio::try_join!(instant(prometheus, promql, at, interval), async {
        match &signal.coverage {
            Some(coverage) => instant(prometheus, coverage, at, interval).await.map(Some),
            None => Ok(None),
        }
    })?;
    let labels = values.series.iter().map(|(labels, _)| labels).collect();
    all_differ(promql, labels)?;
    let (mut notes, mut partial) = (values.notes, values.partial);
    let sources = sources.map(|sources| {
        notes.extend(sources.notes);
        partial = partial.take().or(sources.partial);
        sources.series
    });
    let mut answer = lay_together(signal, values.series, sources);
    (answer.notes, answer.histograms) = (notes, values.histograms);
    if let Some(reason) = partial {
        lack_a_part(&mut answer, prometheus.partial(&reason));
    }
    Ok(answer)
}

/// Labels without the metric's name, and the value.
type Vector = Vec<(Labels, f64)>;

/// Answer to an instant query.
struct Values {
    series: Vector,
    histograms: usize,
    notes: Vec<String>,
    partial: Option<String>,
}

async fn instant(
    prometheus: &Prometheus,
    promql: &str,
    at: UnixMs,
    interval: Duration,
) -> Result<Values, SourceError> {
    let answered = prometheus.instant(promql, at, interval).await?;
    let found = answered.found;
    let nulls = found.nulls;
    let series = found.series.into_iter().filter_map(|series| {
        let labels = Labels::new(series.labels.iter().filter(|(name, _)| *name != "__name__"));
        Some((labels, series.samples.first()?.value))
    });
    let partial = answered.partial.or_else(|| {
        (nulls > 0).then(|| "some series have null in the place of a value".to_owned())
    });
    Ok(Values {
        series: series.collect(),
        histograms: found.histograms,
        notes: answered.notes,
        partial,
    })
}

/// Counts the missing part of an incomplete answer as a failed source of each target. The values
/// are used, but no series ends and no drastic action follows. A target without any value is not
/// absent: only one of its sources is known to have failed.
fn lack_a_part(answer: &mut Answer, failure: SourceError) {
    let coverages = answer
        .targets
        .values_mut()
        .map(|reported| &mut reported.coverage);
    for coverage in coverages.chain([&mut answer.otherwise]) {
        coverage.asked = coverage.asked.max(1).saturating_add(1);
        coverage.failed = coverage.failed.saturating_add(1);
    }
    answer.failure = Some(failure);
}

/// Groups the series by target. If `sources` is given, also counts the sources of each target: a
/// value of 1 means that the source answers, any other value that it fails.
fn lay_together(signal: &SignalConfig, series: Vector, sources: Option<Vector>) -> Answer {
    let mut targets: BTreeMap<Target, TargetSeries> = BTreeMap::new();
    let mut unattributed = 0;
    for (labels, value) in series {
        match signal.target.render(&labels) {
            Some(target) => targets
                .entry(target)
                .or_default()
                .series
                .push((labels, value)),
            None => unattributed += 1,
        }
    }
    let Some(sources) = sources else {
        for spoken in targets.values_mut() {
            spoken.coverage = Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            };
        }
        let otherwise = Coverage {
            asked: 1,
            answered: 0,
            failed: 0,
        };
        return Answer {
            targets,
            otherwise,
            unattributed,
            ..Answer::default()
        };
    };
    for (labels, up) in sources {
        if let Some(target) = signal.target.render(&labels) {
            let TargetSeries {
                coverage, series, ..
            } = targets.entry(target).or_default();
            coverage.asked += 1;
            coverage.failed += u32::from(up != 1.0);
            coverage.answered += u32::from(up == 1.0 && !series.is_empty());
        }
    }
    Answer {
        targets,
        unattributed,
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_its_sources_a_silent_target_is_told_from_an_idle_one() {
        let text = "name = 's'\ncoverage = 'up'\nsource = { query = 'q' }\ntarget = { kind = 'Pod', name = '{{app}}' }";
        let signal: SignalConfig = toml::from_str(text).unwrap();
        let labels = |app: &str, pod: &str| Labels::new([("app", app), ("pod", pod)]);
        let series = vec![(Labels::new([("app", "busy")]), 7.0)];
        let sources = vec![
            (labels("busy", "1"), 1.0),
            (labels("busy", "2"), 0.0),
            (labels("idle", "3"), 1.0),
            (labels("silent", "4"), 0.0),
            (labels("silent", "5"), f64::NAN),
        ];
        let answer = lay_together(&signal, series, Some(sources));
        let coverage = |app| {
            let Coverage {
                asked,
                answered,
                failed,
            } = answer.targets[&Target::new("", "Pod", app)].coverage;
            (asked, answered, failed)
        };
        assert_eq!(
            (coverage("busy"), coverage("idle"), coverage("silent")),
            ((2, 1, 1), (1, 0, 0), (2, 0, 2))
        );
        assert_eq!(answer.otherwise, Coverage::default());
    }

    #[test]
    fn an_answer_that_lacks_a_part_is_incomplete_for_each_target_and_no_target_is_absent() {
        let signal = |coverage: &str| -> SignalConfig {
            let text = format!(
                "name = 's'\n{coverage}\nsource = {{ query = 'q' }}\ntarget = {{ kind = 'Pod', name = '{{{{app}}}}' }}"
            );
            toml::from_str(&text).unwrap()
        };
        let series = || vec![(Labels::new([("app", "web")]), 7.0)];
        let sources = vec![(Labels::new([("app", "web")]), 1.0)];
        for (coverage, sources) in [("", None), ("coverage = 'up'", Some(sources))] {
            let mut answer = lay_together(&signal(coverage), series(), sources);
            lack_a_part(&mut answer, SourceError::Unsupported(String::new()));
            let web = &answer.targets[&Target::new("", "Pod", "web")];
            assert_eq!(web.series.len(), 1);
            for coverage in [web.coverage, answer.otherwise] {
                assert!(!coverage.is_complete(), "{coverage:?}");
                assert!(coverage.failed > 0 && coverage.failed < coverage.asked);
            }
            assert!(answer.failure.is_some());
        }
    }
}
