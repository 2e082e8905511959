//! Backends of the API: one for each role, complete when they are built.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::engine::DetectionStatus;
use super::health::{Health, Status};
use super::metrics;
use super::storage::Stores;
use anomalyzer_api::{
    ApprovalAnswer, Backend, BackendError, PartHealth, PartStatus, ProbeBackend, TestMetric,
};
use anomalyzer_bus::{Bus, BusError};
use anomalyzer_collect::{SignalConfig, StatusBoard};
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::{DroppedCounters, EngineProgress};
use anomalyzer_domain::{Decision, DecisionId, Record, Solution, Target, Topic};
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{AcceptError, AnswerError, Executor, OpenIncidents};
use anomalyzer_verification::RecentSamples;

/// Backend of an engine: health and metrics, which every role has.
pub(super) struct EngineBackend {
    pub bus: Arc<dyn Bus>,
    pub plugins: Plugins,
    pub health: Health,
    pub metrics: Metrics,
    pub signals: Vec<SignalConfig>,
    /// Status of detection by signal. It is empty on a server without an engine.
    pub detection: DetectionStatus,
    pub dropped: Arc<DroppedCounters>,
    pub blind_spots: BlindSpots,
    /// Progress of the engine. It stays at zero on a server without an engine.
    pub progress: Arc<EngineProgress>,
    /// Open incidents. They are empty on the engine.
    pub incidents: OpenIncidents,
    pub storage: Stores,
}

/// Backend of a server, with or without an engine in its process.
pub(super) struct ServerBackend {
    pub probes: EngineBackend,
    pub collected: StatusBoard,
    pub executor: Arc<Executor>,
    pub recent: RecentSamples,
}

#[async_trait]
impl ProbeBackend for EngineBackend {
    fn health(&self) -> Vec<PartHealth> {
        let parts = self.health.parts().into_iter();
        parts
            .map(|(name, part)| PartHealth {
                name: name.to_owned(),
                status: match part.status {
                    Status::Ok => PartStatus::Ok,
                    Status::Degraded => PartStatus::Degraded,
                    Status::Broken => PartStatus::Broken,
                },
                detail: part.detail,
            })
            .collect()
    }

    async fn before_scrape(&self) {
        metrics::show_bus(&self.metrics, &self.bus.health());
        metrics::show_plugins(&self.metrics, &self.plugins);
        metrics::show_incidents(&self.metrics, &self.incidents);
        metrics::show_dropped(&self.metrics, &self.dropped);
        metrics::show_blind_spots(&self.metrics, &self.blind_spots);
        metrics::show_engine(&self.metrics, &self.progress);
        metrics::show_stores(&self.metrics, &self.storage);
        metrics::show_detection(&self.metrics, &self.detection, &self.signals);
    }
}

#[async_trait]
impl ProbeBackend for ServerBackend {
    fn health(&self) -> Vec<PartHealth> {
        self.probes.health()
    }

    async fn before_scrape(&self) {
        self.probes.before_scrape().await;
        metrics::show_recent(&self.probes.metrics, &self.recent);
        metrics::show_collection(&self.probes.metrics, &self.collected);
        let notifier = &self.executor.dispatcher.notifier;
        let bundled = self.executor.in_flight.bundled_alarms();
        metrics::show_notices(&self.probes.metrics, &notifier.status(), bundled);
    }
}

#[async_trait]
impl Backend for ServerBackend {
    async fn submit(&self, solution: Solution) -> Result<(), BackendError> {
        let accepted = self.executor.accept(&solution).await;
        accepted.map_err(|error| match error {
            AcceptError::History(error) => BackendError::Unavailable(error.to_string()),
            AcceptError::Bus(error) => backend_error(error),
        })
    }

    async fn answer(
        &self,
        id: &DecisionId,
        answer: ApprovalAnswer,
    ) -> Result<Decision, AnswerError> {
        let ApprovalAnswer {
            question,
            approved,
            by,
            reason,
        } = answer;
        self.executor
            .answer(id, &question, approved, &by, &reason)
            .await
    }

    async fn send_test_metric(&self, metric: TestMetric) -> Result<(), BackendError> {
        let published = self
            .probes
            .bus
            .publish(Topic::Metrics, test_record(metric))
            .await;
        published.map_err(backend_error)
    }

    fn signals(&self) -> Value {
        let collected = self.collected.all();
        let detected = self.probes.detection.lock().clone();
        let configured = &self.probes.signals;
        let mut signals: Vec<Value> = configured
            .iter()
            .map(|signal| {
                json!({
                    "name": signal.name,
                    "config": signal,
                    "collect": collected.iter().find(|status| status.signal == signal.name),
                    "detect": detected.get(&signal.name),
                })
            })
            .collect();
        let is_configured = |name: &String| configured.iter().any(|signal| signal.name == *name);
        for (name, status) in detected.iter().filter(|(name, _)| !is_configured(name)) {
            signals
                .push(json!({ "name": name, "config": null, "collect": null, "detect": status }));
        }
        json!({
            "signals": signals,
            "overlooked": &*self.probes.dropped,
            "recent": self.recent.status(),
            "blind_spots": self.probes.blind_spots.all(),
        })
    }

    fn plugins(&self) -> Value {
        let plugins = &self.probes.plugins;
        json!({ "plugins": plugins.list(), "health": plugins.health() })
    }
}

/// Builds the message of a test metric. A metric without a target gets a target of its own, so that
/// its incident is its own and no action can change anything.
fn test_record(metric: TestMetric) -> Record {
    let target = metric
        .target
        .unwrap_or_else(|| Target::new("", "Metric", &metric.id));
    let window = json!({
        "name": metric.name,
        "values": metric.values,
        "timestamp": metric.at,
        "labels": { "id": metric.id },
        "target": target.to_string(),
    });
    Record {
        key: Some(target.key()),
        headers: vec![],
        payload: window.to_string().into(),
    }
}

fn backend_error(error: BusError) -> BackendError {
    match error {
        BusError::TooLarge { .. } => BackendError::Invalid(error.to_string()),
        other => BackendError::Unavailable(other.to_string()),
    }
}
