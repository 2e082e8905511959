//! Choice of the metric source: Prometheus, or none.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use anomalyzer_domain::{Series, UnixMs};

use super::{CollectConfig, CollectError, MetricSource, Prometheus, SignalConfig, SourceError};

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
