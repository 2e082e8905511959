//! Queries Prometheus for one signal in one round.

use std::collections::BTreeMap;
use std::time::Duration;

use anomalyzer_domain::{Coverage, Labels, Target, UnixMs};

use super::prometheus::{Prometheus, all_differ};
use super::round::{Answer, TargetSeries};
use super::{SignalConfig, SignalSource, SourceError};

/// Asks Prometheus for a signal that is queried every `interval`. Returns the answer and
/// Prometheus's warnings.
pub async fn ask(
    prometheus: &Prometheus,
    signal: &SignalConfig,
    at: UnixMs,
    interval: Duration,
) -> (Answer, Vec<String>) {
    let SignalSource::Query(promql) = &signal.source else {
        return Default::default();
    };
    match answer(prometheus, promql, signal, at, interval).await {
        Ok(answered) => answered,
        Err(error) => {
            let otherwise = Coverage {
                asked: 1,
                answered: 0,
                failed: 1,
            };
            (
                Answer {
                    otherwise,
                    failure: Some(error),
                    ..Answer::default()
                },
                Vec::new(),
            )
        }
    }
}

async fn answer(
    prometheus: &Prometheus,
    promql: &str,
    signal: &SignalConfig,
    at: UnixMs,
    interval: Duration,
) -> Result<(Answer, Vec<String>), SourceError> {
    let (series, sources) = tokio::try_join!(instant(prometheus, promql, at, interval), async {
        match &signal.coverage {
            Some(coverage) => instant(prometheus, coverage, at, interval).await.map(Some),
            None => Ok(None),
        }
    })?;
    let (series, mut warnings) = series;
    all_differ(promql, series.iter().map(|(labels, _)| labels).collect())?;
    let sources = sources.map(|(sources, more)| {
        warnings.extend(more);
        sources
    });
    Ok((lay_together(signal, series, sources), warnings))
}

/// Labels without the metric's name, and the value.
type Vector = Vec<(Labels, f64)>;

async fn instant(
    prometheus: &Prometheus,
    promql: &str,
    at: UnixMs,
    interval: Duration,
) -> Result<(Vector, Vec<String>), SourceError> {
    let answered = prometheus.instant(promql, at, Some(interval)).await?;
    let unnamed = answered
        .data
        .into_series(promql, at)?
        .into_iter()
        .filter_map(|series| {
            let labels = Labels::new(series.labels.iter().filter(|(name, _)| *name != "__name__"));
            Some((labels, series.samples.first()?.value))
        });
    Ok((unnamed.collect(), answered.warnings))
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
            failure: None,
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
        otherwise: Coverage::default(),
        unattributed,
        failure: None,
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
}
