//! Builds the detection engine, and rebuilds it after a failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::backfill::SourceBackfill;
use crate::config::Config;
use anomalyzer_bus::Bus;
use anomalyzer_collect::{MetricSource, SignalConfig};
use anomalyzer_detect::{
    Backfill, DetectStatus, DroppedCounters, Engine, EngineProgress, Feedback, IncidentCorrelator,
    IncidentLog, StateStore,
};
use anomalyzer_plugin_host::Plugins;

/// Status of detection by signal, shared between the engine and its readers.
pub(super) type DetectionStatus = Arc<Mutex<BTreeMap<String, DetectStatus>>>;

/// Parts of an engine.
pub(super) struct EngineParts {
    pub config: Arc<Config>,
    pub bus: Arc<dyn Bus>,
    pub plugins: Plugins,
    pub source: Arc<dyn MetricSource>,
    pub status: DetectionStatus,
    pub dropped: Arc<DroppedCounters>,
    pub progress: Arc<EngineProgress>,
    pub known: IncidentLog,
    pub feedback: Feedback,
    pub memory: StateStore,
}

/// Builds engines. An engine that replaces a failed one starts with the saved state.
pub(super) struct EngineFactory {
    parts: EngineParts,
    /// Is cancelled when an engine was built for the first time, or could not be built.
    built: CancellationToken,
}

impl EngineFactory {
    pub(super) fn new(parts: EngineParts) -> Self {
        let built = CancellationToken::new();
        Self { parts, built }
    }

    /// Builds an engine, and runs it. Waits for the detectors that are still loading.
    ///
    /// # Errors
    /// The engine cannot be built, or it failed.
    pub(super) async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let engine = self.parts.build().await;
        self.built.cancel();
        Ok(engine?.run("anomalyzer-detect", stop).await?)
    }

    /// Waits until an engine was built for the first time, or could not be built.
    pub(super) async fn built(&self) {
        self.built.cancelled().await;
    }
}

impl EngineParts {
    /// Builds an engine that continues the open incidents.
    async fn build(&self) -> anyhow::Result<Engine> {
        let config = &self.config;
        // Only Prometheus keeps the past of a signal.
        let backfill = config.collect.prometheus.is_some().then(|| {
            let source = Arc::clone(&self.source);
            let backfill = SourceBackfill::new(source, config.signals(), config.collect.interval);
            Arc::new(backfill) as Arc<dyn Backfill>
        });
        let mut book = IncidentCorrelator::new(config.incidents.clone(), self.known.clone());
        if !self.bus.is_partitioned() {
            book.adopt_all();
        }
        let mut engine = Engine::new(
            Arc::clone(&self.bus),
            self.plugins.clone(),
            config.signals().iter().map(SignalConfig::watched).collect(),
            config.fallback_detectors.clone(),
            book,
            config.silent_after,
        )
        .with_backfill(backfill)
        .with_status(Arc::clone(&self.status))
        .with_dropped(Arc::clone(&self.dropped))
        .with_progress(Arc::clone(&self.progress))
        .with_feedback(self.feedback.clone())
        .with_state_store(self.memory.clone());
        engine.open_configured().await?;
        Ok(engine)
    }
}
