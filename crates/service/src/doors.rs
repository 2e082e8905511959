//! What the API opens: the parts of this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::health::{Health, Status};
use super::plugin_metrics;
use super::startup::Detection;
use anomalyzer_api::{DoorError, Doors, PartHealth, PartStatus, Said, TestMetric};
use anomalyzer_bus::{Bus, BusError};
use anomalyzer_collect::{SignalConfig, StatusBoard};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::{DetectStatus, Overlooked};
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::{Decision, DecisionId, Record, Solution, Target, Topic};
use anomalyzer_operator::Operator;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::verification::Recent;
use anomalyzer_remediate::{AcceptError, Actor, AnswerError, OpenIncidents};

pub(super) struct ServeDoors {
    pub bus: Arc<dyn Bus>,
    pub plugins: Plugins,
    pub health: Health,
    pub detection: Detection,
    pub collected: Option<StatusBoard>,
    pub diagnoser: Option<Arc<Diagnoser>>,
    /// The acting part (server role).
    pub actor: Option<Arc<Actor>>,
    pub operators: Vec<Arc<dyn Operator>>,
    pub signals: Vec<SignalConfig>,
    pub metrics: Metrics,
    pub incidents: OpenIncidents,
    pub overlooked: Arc<Overlooked>,
    pub recent: Option<Recent>,
}

/// The label of all signals together that are not configured: someone else chooses their names, and
/// a label is for ever.
const NOT_CONFIGURED: &str = "(not configured)";

fn refused(error: BusError) -> DoorError {
    match error {
        BusError::TooLarge { .. } => DoorError::Invalid(error.to_string()),
        other => DoorError::Unavailable(other.to_string()),
    }
}

#[async_trait]
impl Doors for ServeDoors {
    async fn submit(&self, solution: Solution) -> Result<(), DoorError> {
        let Some(actor) = &self.actor else {
            return Err(DoorError::Unavailable(
                "this process does not act: ask the one with the server role".into(),
            ));
        };
        actor.accept(&solution).await.map_err(|error| match error {
            AcceptError::History(error) => DoorError::Unavailable(error.to_string()),
            AcceptError::Bus(error) => refused(error),
        })
    }

    async fn answer(&self, id: &DecisionId, said: Said) -> Result<Decision, AnswerError> {
        let Some(actor) = &self.actor else {
            return Err(AnswerError::NotHere);
        };
        actor
            .answer(id, &said.question, said.approved, &said.by, &said.reason)
            .await
    }

    async fn send_test_metric(&self, metric: TestMetric) -> Result<(), DoorError> {
        // A target of its own where none is named, so that its incident is its own and nothing can
        // be acted upon.
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
        let record = Record {
            key: Some(target.key()),
            headers: vec![],
            payload: window.to_string().into(),
        };
        self.bus
            .publish(Topic::Metrics, record)
            .await
            .map_err(refused)
    }

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

    fn signals(&self) -> Value {
        let collected = self
            .collected
            .as_ref()
            .map(StatusBoard::all)
            .unwrap_or_default();
        let detected = self.detection.lock().clone();
        let mut signals: Vec<Value> = self
            .signals
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
        let configured = |name: &String| self.signals.iter().any(|signal| signal.name == *name);
        for (name, status) in detected.iter().filter(|(name, _)| !configured(name)) {
            signals
                .push(json!({ "name": name, "config": null, "collect": null, "detect": status }));
        }
        let recent = self.recent.as_ref().map(Recent::status);
        json!({ "signals": signals, "overlooked": &*self.overlooked, "recent": recent })
    }

    fn plugins(&self) -> Value {
        json!({ "plugins": self.plugins.list(), "health": self.plugins.health() })
    }

    async fn before_scrape(&self) {
        let gauge = |name, help, value: f64| self.metrics.gauge(name, help, &[]).set(value);
        let counter = |name, help, count: u64| self.metrics.counter(name, help, &[]).follow(count);
        let bus = self.bus.health();
        gauge(
            "anomalyzer_bus_waiting",
            "Messages that wait to be written.",
            bus.waiting as f64,
        );
        gauge(
            "anomalyzer_bus_capacity",
            "How many messages may wait.",
            bus.capacity as f64,
        );
        counter(
            "anomalyzer_bus_full_total",
            "How often the queue was full.",
            bus.full,
        );
        counter(
            "anomalyzer_bus_dead_letters_total",
            "Messages set aside as unreadable.",
            bus.dead_letters,
        );
        let plugins = self.plugins.health();
        counter(
            "anomalyzer_plugin_queue_full_total",
            "How often a queue of calls was full.",
            plugins.full,
        );
        plugin_metrics::show(&self.metrics, &self.plugins.live());
        gauge(
            "anomalyzer_incidents_open",
            "Open incidents.",
            self.incidents.open().len() as f64,
        );
        let overlooked =
            "Messages of signals that are not configured, beyond the most that are watched.";
        counter(
            "anomalyzer_messages_overlooked_total",
            overlooked,
            self.overlooked.messages.load(Relaxed),
        );
        let silences = "Reports of silent sources beyond the most that are watched.";
        counter(
            "anomalyzer_silences_overlooked_total",
            silences,
            self.overlooked.silences.load(Relaxed),
        );
        if let Some(recent) = self.recent.as_ref().map(Recent::status) {
            gauge(
                "anomalyzer_recent_streams",
                "Signals and targets whose samples are at hand.",
                recent.streams as f64,
            );
            gauge(
                "anomalyzer_recent_capacity",
                "How many may be at hand.",
                recent.capacity as f64,
            );
            counter(
                "anomalyzer_recent_evicted_total",
                "How many made room for others.",
                recent.evicted,
            );
        }
        for (signal, status) in by_label(&self.detection, &self.signals) {
            let labels = [("signal", signal.as_str())];
            let counter =
                |name, help, count| self.metrics.counter(name, help, &labels).follow(count);
            counter(
                "anomalyzer_samples_total",
                "Samples looked at.",
                status.samples,
            );
            counter(
                "anomalyzer_samples_late_total",
                "Late or repeated samples, dropped.",
                status.late,
            );
            let not_finite = "Samples that were not finite, dropped.";
            counter(
                "anomalyzer_samples_not_finite_total",
                not_finite,
                status.not_finite,
            );
            let overlooked = "Samples of series beyond the most that are watched, dropped.";
            counter(
                "anomalyzer_samples_overlooked_total",
                overlooked,
                status.overlooked,
            );
            counter("anomalyzer_findings_total", "Findings.", status.findings);
            let open = "Open series.";
            self.metrics
                .gauge("anomalyzer_series", open, &labels)
                .set(status.series as f64);
            let learning =
                "Series that a detector says nothing of yet, each counted for each such detector.";
            let young: usize = status.learning.iter().map(|learning| learning.series).sum();
            self.metrics
                .gauge("anomalyzer_series_learning", learning, &labels)
                .set(young as f64);
        }
    }
}

/// What is known of each signal that is configured, and of the others added up.
fn by_label(detection: &Detection, signals: &[SignalConfig]) -> BTreeMap<String, DetectStatus> {
    let detected = detection.lock();
    let mut labelled: BTreeMap<String, DetectStatus> = BTreeMap::new();
    for (name, status) in detected.iter() {
        let configured = signals.iter().any(|signal| signal.name == *name);
        let label = if configured {
            name.as_str()
        } else {
            NOT_CONFIGURED
        };
        let sum = labelled.entry(label.to_owned()).or_default();
        sum.samples += status.samples;
        sum.late += status.late;
        sum.not_finite += status.not_finite;
        sum.overlooked += status.overlooked;
        sum.series += status.series;
        sum.findings += status.findings;
        sum.learning.extend(status.learning.iter().cloned());
    }
    labelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_someone_else_chose_share_one_label() {
        let configured =
            "name = 'latency'\nsource = { query = 'q' }\ntarget = { kind = 'Pod', name = 'web' }";
        let status = |samples| DetectStatus {
            samples,
            series: 1,
            ..DetectStatus::default()
        };
        let all = [("latency", 1), ("cpu", 20), ("memory", 300)];
        let detection: BTreeMap<String, DetectStatus> = all
            .map(|(name, samples)| (name.to_owned(), status(samples)))
            .into();
        let labelled = by_label(
            &Arc::new(detection.into()),
            &[toml::from_str(configured).unwrap()],
        );
        let shown: Vec<_> = labelled
            .iter()
            .map(|(label, it)| (label.as_str(), it.samples, it.series))
            .collect();
        assert_eq!(shown, [(NOT_CONFIGURED, 320, 2), ("latency", 1, 1)]);
    }
}
