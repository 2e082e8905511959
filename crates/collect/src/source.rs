//! Interface of the metric source for other parts, which query it for evidence and past samples.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use anomalyzer_domain::{Series, UnixMs};

use super::{CollectConfig, CollectError, Prometheus, SignalConfig, SourceError};

/// A source that answers PromQL.
#[async_trait]
pub trait MetricSource: Send + Sync {
    /// Evaluates a query at one time. Returns the series of a vector with one sample each, or a
    /// scalar as a series without labels. An empty result is valid.
    async fn query(&self, promql: &str, at: UnixMs) -> Result<Vec<Series>, SourceError>;

    /// Evaluates a query from `from` to `to`, both inclusive.
    async fn query_range(
        &self,
        promql: &str,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError>;

    /// Returns the past samples of a signal, with its series named as `collect` names them. Returns
    /// an empty list if no source has stored them.
    async fn backfill(
        &self,
        signal: &SignalConfig,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError>;

    /// Checks that the source answers at all, for `/health`.
    async fn check(&self) -> Result<(), SourceError>;
}

/// Creates the source that answers PromQL under this configuration, if there is one. It needs no
/// collector, so that an engine can fill in past samples from it by itself.
///
/// # Errors
/// Returns an error if the HTTP client can't be set up.
pub fn source(config: &CollectConfig) -> Result<Arc<dyn MetricSource>, CollectError> {
    Ok(match config.prometheus.clone() {
        Some(prometheus) => Arc::new(Prometheus::new(prometheus)?),
        None => Arc::new(NoPrometheus),
    })
}

/// The source when there are only direct scrapes. It can't answer PromQL and has no past samples.
#[derive(Clone, Copy, Debug)]
pub struct NoPrometheus;

fn unsupported() -> SourceError {
    SourceError::Unsupported(
        "no Prometheus configured: add [collect.prometheus] with its `url`".to_owned(),
    )
}

#[async_trait]
impl MetricSource for NoPrometheus {
    async fn query(&self, _: &str, _: UnixMs) -> Result<Vec<Series>, SourceError> {
        Err(unsupported())
    }

    async fn query_range(
        &self,
        _: &str,
        _: UnixMs,
        _: UnixMs,
        _: Duration,
    ) -> Result<Vec<Series>, SourceError> {
        Err(unsupported())
    }

    async fn backfill(
        &self,
        _: &SignalConfig,
        _: UnixMs,
        _: UnixMs,
        _: Duration,
    ) -> Result<Vec<Series>, SourceError> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }
}
