//! What other parts may ask of the metrics' source: evidence, and the past.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Series, UnixMs};

use super::{CollectConfig, CollectError, Prometheus, SignalConfig, SourceError};

/// Something that answers PromQL.
#[async_trait]
pub trait MetricSource: Send + Sync {
    /// What a query answers at one time: a vector's series with a sample each, or a scalar as a
    /// series without labels. An empty answer is an answer.
    async fn query(&self, promql: &str, at: UnixMs) -> Result<Vec<Series>, SourceError>;

    /// What a query answers from one time to another, both inclusive.
    async fn query_range(
        &self,
        promql: &str,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError>;

    /// The past of a signal, its series named as `collect` names them. Empty where nobody kept it.
    async fn backfill(
        &self,
        signal: &SignalConfig,
        from: UnixMs,
        to: UnixMs,
        step: Duration,
    ) -> Result<Vec<Series>, SourceError>;

    /// Whether it answers at all, for `/health`.
    async fn check(&self) -> Result<(), SourceError>;
}

/// Who answers PromQL by this configuration, if anyone does. Needs no collector: an engine by
/// itself fills in the past from it.
///
/// # Errors
/// The HTTP client can't be made.
pub fn source(config: &CollectConfig) -> Result<Arc<dyn MetricSource>, CollectError> {
    Ok(match config.prometheus.clone() {
        Some(prometheus) => Arc::new(Prometheus::new(prometheus)?),
        None => Arc::new(NoPrometheus),
    })
}

/// Where only direct scrapes are: nobody answers PromQL or keeps the past.
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
