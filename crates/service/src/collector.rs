//! Builds the collector, and rebuilds it after a failure.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::process_targets;
use super::sink::BusSink;
use crate::config::Config;
use anomalyzer_bus::Bus;
use anomalyzer_collect::{CollectError, Collector, StatusBoard};
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_operator_process::Local;

/// Builds collectors that share one status board.
pub(super) struct CollectorFactory {
    config: Arc<Config>,
    bus: Arc<dyn Bus>,
    local: Option<Arc<Local>>,
    shutdown: CancellationToken,
    blind_spots: BlindSpots,
    status: StatusBoard,
    /// Collector that was built at the start, for the first run.
    first: Mutex<Option<Collector>>,
}

impl CollectorFactory {
    /// Builds the first collector.
    ///
    /// # Errors
    /// The configuration of the sources is not usable.
    pub(super) fn new(
        config: &Arc<Config>,
        bus: &Arc<dyn Bus>,
        local: Option<&Arc<Local>>,
        shutdown: &CancellationToken,
        blind_spots: &BlindSpots,
    ) -> Result<Self, CollectError> {
        let mut factory = Self {
            config: Arc::clone(config),
            bus: Arc::clone(bus),
            local: local.cloned(),
            shutdown: shutdown.clone(),
            blind_spots: blind_spots.clone(),
            status: StatusBoard::default(),
            first: Mutex::new(None),
        };
        let first = factory.build()?;
        factory.status = first.status();
        *factory.first.lock() = Some(first);
        Ok(factory)
    }

    /// Returns the status of each signal, over all runs.
    pub(super) fn status(&self) -> StatusBoard {
        self.status.clone()
    }

    /// Runs the first collector, and in each further call a new one.
    ///
    /// # Errors
    /// The collector cannot be built, or it failed.
    pub(super) async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let first = self.first.lock().take();
        let collector = match first {
            Some(first) => first,
            None => self.build()?.with_status(self.status()),
        };
        Ok(collector.run(stop).await?)
    }

    fn build(&self) -> Result<Collector, CollectError> {
        let sink = Arc::new(BusSink::new(Arc::clone(&self.bus)));
        let groups = self
            .local
            .as_ref()
            .map(|local| process_targets::process_targets(local, &self.shutdown))
            .unwrap_or_default();
        let (config, signals) = (self.config.collect.clone(), self.config.signals());
        let collector = Collector::new(config, signals, &groups, sink)?;
        Ok(collector.with_blind_spots(self.blind_spots.clone()))
    }
}
