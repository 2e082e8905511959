//! Prometheus as a metric source, with the series of its answers named after their signal.

use std::time::Duration;

use async_trait::async_trait;

use anomalyzer_domain::{Labels, Series, UnixMs};
use anomalyzer_http_source::Prometheus;

use super::{MetricSource, SignalConfig, SignalSource, SourceError};

#[async_trait]
impl MetricSource for Prometheus {
    async fn query(&self, promql: &str, at: UnixMs) -> Result<Vec<Series>, SourceError> {
        self.series_at(promql, at).await
    }

    async fn query_range(
        &self,
        promql: &str,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError> {
        self.range(promql, from, to, step, None).await
    }

    async fn backfill(
        &self,
        signal: &SignalConfig,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError> {
        let SignalSource::Query(promql) = &signal.source else {
            return Ok(Vec::new());
        };
        let mut series = self.range(promql, from, to, step, Some(step)).await?;
        for series in &mut series {
            series.labels = series.labels.with("__name__", &signal.name);
        }
        let labels: Vec<&Labels> = series.iter().map(|series| &series.labels).collect();
        all_differ(promql, labels)?;
        Ok(series)
    }

    async fn check(&self) -> Result<(), SourceError> {
        self.ping().await
    }
}

/// Checks that all series have different labels. The series of a signal are identified by their
/// labels without the metric's name. A query that returns two metrics may give two series with
/// equal labels.
pub fn all_differ(promql: &str, mut labels: Vec<&Labels>) -> Result<(), SourceError> {
    labels.sort();
    match labels.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(SourceError::WrongShape {
            query: promql.to_owned(),
            reason: format!(
                "answers several metrics with the same labels {}: make each a signal of its own",
                pair[0]
            ),
        }),
    }
}
