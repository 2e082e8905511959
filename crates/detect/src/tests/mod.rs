//! Changes of detectors while the engine runs.

mod foreign;
mod pauses;
mod quarantine;
mod storm;
mod swap;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use anomalyzer_bus::{Bus, Subscription};
use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
use anomalyzer_domain::{
    DetectorConfig, Labels, MetricBatch, Target, Topic, WatchedSignal, testing,
};
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use anomalyzer_test_support::guest;

fn config(name: &str) -> DetectorConfig {
    DetectorConfig {
        name: name.to_owned(),
        settings: serde_json::Map::new(),
    }
}

struct Rig {
    bus: Arc<dyn Bus>,
    metrics: Box<dyn Subscription>,
    incidents: Box<dyn Subscription>,
    plugins: Plugins,
    engine: Engine,
    status: Arc<Mutex<BTreeMap<String, DetectStatus>>>,
    sent: i64,
    folder: tempfile::TempDir,
}

impl Rig {
    /// Builds an engine with these plugins. `fallback` watches signals that are not configured.
    async fn new(
        guests: &[&guest::Detector<'_>],
        signals: Vec<WatchedSignal>,
        fallback: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = LocalBus::open(&folder.path().join("bus.sqlite"), LocalBusConfig::default())
            .await
            .unwrap();
        let bus: Arc<dyn Bus> = Arc::new(bus);
        let metrics = bus.subscribe(Topic::Metrics, "detect").await.unwrap();
        let incidents = bus.subscribe(Topic::Incidents, "test").await.unwrap();
        let book = IncidentCorrelator::new(IncidentConfig::default(), IncidentLog::default());
        for guest in guests {
            std::fs::write(
                folder.path().join(guest.name).with_extension("wasm"),
                guest.build(),
            )
            .unwrap();
        }
        let plugins = PluginConfig {
            folder: folder.path().to_owned(),
            ..PluginConfig::default()
        };
        let plugins = Plugins::load(plugins).unwrap();
        let (silent_after, status, fallback) = (
            Duration::from_secs(60),
            Arc::default(),
            vec![config(fallback)],
        );
        let engine = Engine::new(
            Arc::clone(&bus),
            plugins.clone(),
            signals,
            fallback,
            book,
            silent_after,
        )
        .with_status(Arc::clone(&status));
        Self {
            bus,
            metrics,
            incidents,
            plugins,
            engine,
            status,
            sent: 0,
            folder,
        }
    }

    /// Puts another version of a plugin into the folder.
    async fn drop_in(&mut self, guest: &guest::Detector<'_>) {
        let path = self.folder.path().join(guest.name).with_extension("wasm");
        std::fs::write(&path, guest.build()).unwrap();
        self.plugins.take_file(&path);
        self.engine.follow_plugins().await;
    }

    fn status(&self, signal: &str) -> DetectStatus {
        self.status.lock()[signal].clone()
    }

    /// Sends one more sample of each of these signals to the engine.
    async fn send(&mut self, signals: &[&str]) {
        self.sent += 1;
        for signal in signals {
            let labels = Labels::new([("__name__", *signal), ("pod", "a")]);
            let mut batch = testing::batch(signal, self.sent, guest::mood::GOOD);
            batch.series[0].labels = labels;
            self.bus
                .publish(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
                .await
                .unwrap();
        }
        let deliveries = self.metrics.next(10, Duration::from_secs(9)).await.unwrap();
        assert_eq!(deliveries.len(), signals.len());
        self.engine
            .process_batch(&deliveries, self.metrics.as_mut())
            .await
            .unwrap();
    }
}
