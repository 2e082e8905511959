//! Metrics of the service that other parts count, brought up to date before each scrape.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::engine::DetectionStatus;
use super::plugin_metrics;
use anomalyzer_bus::BusHealth;
use anomalyzer_collect::SignalConfig;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::{DetectStatus, DroppedCounters};
use anomalyzer_egress::notify::ChannelStatus;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::OpenIncidents;
use anomalyzer_remediate::verification::RecentSamples;

/// Label of all signals together that are not configured. Others choose their names, and a label
/// never goes away.
const NOT_CONFIGURED: &str = "(not configured)";

pub(super) fn show_bus(metrics: &Metrics, bus: &BusHealth) {
    gauge(
        metrics,
        "anomalyzer_bus_waiting",
        "Messages that wait to be written.",
        bus.waiting as f64,
    );
    gauge(
        metrics,
        "anomalyzer_bus_capacity",
        "How many messages may wait.",
        bus.capacity as f64,
    );
    counter(
        metrics,
        "anomalyzer_bus_full_total",
        "How often the queue was full.",
        bus.full,
    );
    counter(
        metrics,
        "anomalyzer_bus_dead_letters_total",
        "Messages set aside as unreadable.",
        bus.dead_letters,
    );
}

pub(super) fn show_plugins(metrics: &Metrics, plugins: &Plugins) {
    counter(
        metrics,
        "anomalyzer_plugin_queue_full_total",
        "How often a queue of calls was full.",
        plugins.health().full,
    );
    plugin_metrics::show(metrics, &plugins.live());
}

pub(super) fn show_incidents(metrics: &Metrics, incidents: &OpenIncidents) {
    gauge(
        metrics,
        "anomalyzer_incidents_open",
        "Open incidents.",
        incidents.open().len() as f64,
    );
}

pub(super) fn show_overlooked(metrics: &Metrics, overlooked: &DroppedCounters) {
    counter(
        metrics,
        "anomalyzer_messages_overlooked_total",
        "Messages of signals that are not configured, beyond the most that are watched.",
        overlooked.messages.load(Relaxed),
    );
    counter(
        metrics,
        "anomalyzer_silences_overlooked_total",
        "Reports of silent sources beyond the most that are watched.",
        overlooked.silences.load(Relaxed),
    );
}

pub(super) fn show_notices(metrics: &Metrics, channels: &[ChannelStatus]) {
    for channel in channels {
        let labels = [("channel", channel.channel.as_str())];
        let counter = |name, help, count| metrics.counter(name, help, &labels).follow(count);
        metrics
            .gauge(
                "anomalyzer_notices_waiting",
                "Notices that a channel has not accepted yet.",
                &labels,
            )
            .set(channel.waiting as f64);
        counter(
            "anomalyzer_notices_delivered_total",
            "Notices that a channel accepted.",
            channel.delivered,
        );
        counter(
            "anomalyzer_notices_lost_total",
            "Notices that were given up.",
            channel.lost,
        );
    }
}

pub(super) fn show_recent(metrics: &Metrics, recent: &RecentSamples) {
    let recent = recent.status();
    gauge(
        metrics,
        "anomalyzer_recent_streams",
        "Signals and targets whose samples are at hand.",
        recent.streams as f64,
    );
    gauge(
        metrics,
        "anomalyzer_recent_capacity",
        "How many may be at hand.",
        recent.capacity as f64,
    );
    counter(
        metrics,
        "anomalyzer_recent_evicted_total",
        "How many made room for others.",
        recent.evicted,
    );
}

pub(super) fn show_detection(
    metrics: &Metrics,
    detection: &DetectionStatus,
    signals: &[SignalConfig],
) {
    for (signal, status) in by_label(detection, signals) {
        let labels = [("signal", signal.as_str())];
        let counter = |name, help, count| metrics.counter(name, help, &labels).follow(count);
        let gauge = |name, help, value: f64| metrics.gauge(name, help, &labels).set(value);
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
        counter(
            "anomalyzer_samples_not_finite_total",
            "Samples that were not finite, dropped.",
            status.not_finite,
        );
        counter(
            "anomalyzer_samples_overlooked_total",
            "Samples of series beyond the most that are watched, dropped.",
            status.overlooked,
        );
        counter("anomalyzer_findings_total", "Findings.", status.findings);
        gauge("anomalyzer_series", "Open series.", status.series as f64);
        let learning: usize = status.learning.iter().map(|learning| learning.series).sum();
        gauge(
            "anomalyzer_series_learning",
            "Series that a detector says nothing of yet, each counted for each such detector.",
            learning as f64,
        );
    }
}

fn gauge(metrics: &Metrics, name: &'static str, help: &'static str, value: f64) {
    metrics.gauge(name, help, &[]).set(value);
}

fn counter(metrics: &Metrics, name: &'static str, help: &'static str, count: u64) {
    metrics.counter(name, help, &[]).follow(count);
}

/// Returns the status of each configured signal, and the sum over all others.
fn by_label(
    detection: &DetectionStatus,
    signals: &[SignalConfig],
) -> BTreeMap<String, DetectStatus> {
    let detected = detection.lock();
    let mut labelled: BTreeMap<String, DetectStatus> = BTreeMap::new();
    for (name, status) in detected.iter() {
        let configured = signals.iter().any(|signal| signal.name == *name);
        let label = match configured {
            true => name.as_str(),
            false => NOT_CONFIGURED,
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
    use std::sync::Arc;

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
