//! Interface of the metric source for other parts, which query it for evidence and past samples.

use std::time::Duration;

use async_trait::async_trait;

use super::{SignalConfig, SourceError};
use anomalyzer_domain::{Series, UnixMs};

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
