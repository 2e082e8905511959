//! The past of a signal, from the source that keeps it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use anomalyzer_collect::{MetricSource, SignalConfig, SignalSource};
use anomalyzer_detect::Backfill;
use anomalyzer_domain::{Series, Target, UnixMs};

pub(super) struct FromSource {
    source: Arc<dyn MetricSource>,
    signals: Vec<SignalConfig>,
    interval: Duration,
}

impl FromSource {
    pub(super) fn new(
        source: Arc<dyn MetricSource>,
        signals: Vec<SignalConfig>,
        interval: Duration,
    ) -> Self {
        Self {
            source,
            signals,
            interval,
        }
    }
}

#[async_trait]
impl Backfill for FromSource {
    async fn history(
        &self,
        signal: &str,
        from: UnixMs,
        to: UnixMs,
    ) -> Option<Vec<(Target, Series)>> {
        let signal = self.signals.iter().find(|known| known.name == signal)?;
        if !matches!(signal.source, SignalSource::Query(_)) {
            return None;
        }
        let step = signal.interval.unwrap_or(self.interval);
        match self.source.backfill(signal, from, to, step).await {
            Ok(past) => {
                let named = past.into_iter().filter_map(|mut series| {
                    // What would lie beyond the past would make the present late.
                    series
                        .samples
                        .retain(|sample| (from..=to).contains(&sample.at));
                    Some((signal.target.render(&series.labels)?, series))
                });
                Some(named.collect())
            }
            Err(error) => {
                tracing::warn!(signal = signal.name, %error, "the past can't be filled in; findings count once enough was seen");
                None
            }
        }
    }
}
