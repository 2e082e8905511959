//! The detecting half: what it is made of, and made of again.

use parking_lot::Mutex;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::startup::Detection;
use super::backfill::FromSource;
use crate::config::Config;
use anomalyzer_bus::Bus;
use anomalyzer_collect::MetricSource;
use anomalyzer_detect::{
    Backfill, Engine, Feedback, IncidentBook, KnownIncidents, Memory, Overlooked,
};
use anomalyzer_plugin_host::Plugins;

/// What an engine is made of. One that failed is made anew, and begins with what it saved.
#[derive(Clone)]
pub(super) struct EngineMakings {
    pub(super) config: Arc<Config>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) plugins: Plugins,
    pub(super) source: Arc<dyn MetricSource>,
    pub(super) detection: Detection,
    pub(super) overlooked: Arc<Overlooked>,
    pub(super) known: KnownIncidents,
    pub(super) feedback: Feedback,
    pub(super) memory: Memory,
}

impl EngineMakings {
    /// One that goes on with the incidents that are open.
    pub(super) async fn engine(&self) -> anyhow::Result<Engine> {
        let config = &self.config;
        let backfill = config.collect.prometheus.is_some().then(|| {
            let source = Arc::clone(&self.source);
            Arc::new(FromSource::new(
                source,
                config.signals(),
                config.collect.interval,
            )) as Arc<dyn Backfill>
        });
        let mut book = IncidentBook::new(config.incidents.clone(), self.known.clone());
        if !self.bus.is_partitioned() {
            book.adopt_all();
        }
        let mut engine = Engine::new(
            Arc::clone(&self.bus),
            self.plugins.clone(),
            config.signals(),
            config.fallback_detectors.clone(),
            book,
            config.silent_after,
            backfill,
        )
        .with_status(Arc::clone(&self.detection))
        .with_overlooked(Arc::clone(&self.overlooked))
        .with_feedback(self.feedback.clone())
        .with_memory(self.memory.clone());
        engine.open_configured().await?;
        Ok(engine)
    }

    /// Runs the first one, and at each further call a new one.
    pub(super) fn run(
        self,
        first: Engine,
        shutdown: CancellationToken,
    ) -> impl Fn() -> BoxFuture<'static, anyhow::Result<()>> {
        let first = Mutex::new(Some(first));
        move || {
            let kept = first.lock().take();
            let (makings, shutdown) = (self.clone(), shutdown.clone());
            Box::pin(async move {
                let engine = match kept {
                    Some(engine) => engine,
                    None => makings.engine().await?,
                };
                Ok(engine.run("anomalyzer-detect", shutdown).await?)
            })
        }
    }
}
