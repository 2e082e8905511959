//! Metrics of the service that other parts count, brought up to date before each scrape.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::engine::DetectionStatus;
use super::plugin_metrics;
use super::storage::Stores;
use anomalyzer_bus::{BusHealth, PartitionLag};
use anomalyzer_collect::{SignalConfig, StatusBoard};
use anomalyzer_common::blind_spot::{BlindSpotKind, BlindSpots};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::{DetectStatus, DroppedCounters, EngineProgress};
use anomalyzer_egress::notify::ChannelStatus;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::OpenIncidents;
use anomalyzer_verification::RecentSamples;

const LAG: &str = "anomalyzer_bus_lag_messages";
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
        "Limit of the messages that wait.",
        bus.capacity as f64,
    );
    counter(
        metrics,
        "anomalyzer_bus_full_total",
        "Times when the queue was full.",
        bus.full,
    );
    counter(
        metrics,
        "anomalyzer_bus_dead_letters_total",
        "Messages set aside as unreadable.",
        bus.dead_letters,
    );
    counter(
        metrics,
        "anomalyzer_bus_unreadable_total",
        "Messages or batches of messages that no client can read, passed over.",
        bus.unreadable,
    );
    let labels = |lag: &PartitionLag| {
        let partition = lag.partition.to_string();
        [lag.topic.clone(), partition, lag.group.clone()]
    };
    // A partition that another process reads now has no lag here.
    metrics.retain(LAG, |kept| {
        let kept = kept.iter().map(|(_, value)| value.clone());
        let mut read = bus.lags.iter().map(labels);
        read.any(|labels| labels.into_iter().eq(kept.clone()))
    });
    for lag in &bus.lags {
        let [topic, partition, group] = &labels(lag);
        let labels = [
            ("topic", topic.as_str()),
            ("partition", partition),
            ("group", group),
        ];
        let help = "Messages of a partition that are not read yet.";
        metrics.gauge(LAG, help, &labels).set(lag.messages as f64);
    }
}

pub(super) fn show_engine(metrics: &Metrics, progress: &EngineProgress) {
    gauge(
        metrics,
        "anomalyzer_engine_lag_seconds",
        "Time by which the engine is behind the newest samples.",
        progress.lag().behind.as_secs_f64(),
    );
}

pub(super) fn show_plugins(metrics: &Metrics, plugins: &Plugins) {
    let health = plugins.health();
    counter(
        metrics,
        "anomalyzer_plugin_queue_full_total",
        "Times when a queue of calls was full.",
        health.full,
    );
    for (name, help, value) in [
        (
            "anomalyzer_plugins_loading",
            "Plugins that are still loading after the start.",
            health.loading as u64,
        ),
        (
            "anomalyzer_plugin_store_bytes",
            "Size of the stored versions of plugins.",
            health.store_bytes,
        ),
        (
            "anomalyzer_plugin_store_capacity_bytes",
            "Maximum size of the stored versions of plugins.",
            health.store_capacity_bytes,
        ),
        (
            "anomalyzer_plugin_cache_bytes",
            "Size of the compiled code of plugins.",
            health.cache_bytes,
        ),
        (
            "anomalyzer_plugin_cache_capacity_bytes",
            "Maximum size of the compiled code of plugins.",
            health.cache_capacity_bytes,
        ),
    ] {
        gauge(metrics, name, help, value as f64);
    }
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

pub(super) fn show_dropped(metrics: &Metrics, dropped: &DroppedCounters) {
    counter(
        metrics,
        "anomalyzer_messages_overlooked_total",
        "Messages of signals that are not configured, beyond the most that are watched.",
        dropped.messages.load(Relaxed),
    );
    counter(
        metrics,
        "anomalyzer_silences_overlooked_total",
        "Reports of silent sources beyond the most that are watched.",
        dropped.silences.load(Relaxed),
    );
    counter(
        metrics,
        "anomalyzer_messages_unreadable_total",
        "Messages of metrics that were set aside.",
        dropped.unreadable.load(Relaxed),
    );
}

pub(super) fn show_blind_spots(metrics: &Metrics, spots: &BlindSpots) {
    let all = spots.all();
    for kind in BlindSpotKind::ALL {
        let count = all.iter().filter(|spot| spot.kind == kind).count();
        let labels = [("kind", kind.id())];
        metrics
            .gauge(
                "anomalyzer_blind_spots",
                "Conditions in which the service sees less than it should.",
                &labels,
            )
            .set(count as f64);
    }
    counter(
        metrics,
        "anomalyzer_blind_spots_overlooked_total",
        "Blind spots beyond the most that are shown.",
        spots.dropped(),
    );
}

pub(super) fn show_collection(metrics: &Metrics, collected: &StatusBoard) {
    for status in collected.all() {
        for (reason, count) in [
            ("late", status.late),
            ("future", status.future),
            ("limit", status.left_out),
            ("labels", status.refused),
        ] {
            let labels = [("signal", status.signal.as_str()), ("reason", reason)];
            metrics
                .counter(
                    "anomalyzer_collect_dropped_total",
                    "Samples of sources that were dropped.",
                    &labels,
                )
                .follow(count);
        }
    }
}

pub(super) fn show_stores(metrics: &Metrics, stores: &Stores) {
    for store in stores.sizes() {
        let labels = [("store", store.name)];
        let gauge = |name, help, value: f64| metrics.gauge(name, help, &labels).set(value);
        gauge(
            "anomalyzer_store_bytes",
            "Size of a file in the data folder.",
            store.bytes as f64,
        );
        gauge(
            "anomalyzer_store_max_bytes",
            "Size that the file may have.",
            store.max_bytes as f64,
        );
    }
}

pub(super) fn show_notices(metrics: &Metrics, channels: &[ChannelStatus], bundled: u64) {
    counter(
        metrics,
        "anomalyzer_alarms_bundled_total",
        "Alarms that joined the notice of a storm.",
        bundled,
    );
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
            "Notices that were abandoned.",
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
        "Limit of the signals and targets whose samples are at hand.",
        recent.capacity as f64,
    );
    counter(
        metrics,
        "anomalyzer_recent_evicted_total",
        "Signals and targets that made room for others.",
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
            "Samples examined.",
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
            status.dropped_samples,
        );
        counter(
            "anomalyzer_samples_refused_total",
            "Samples of series whose labels can't be used, dropped.",
            status.refused,
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
        sum.dropped_samples += status.dropped_samples;
        sum.refused += status.refused;
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
    fn a_partition_that_another_process_reads_has_no_lag_here() {
        let lag = |partition| PartitionLag {
            topic: "metrics-topic".to_owned(),
            partition,
            group: "g".to_owned(),
            messages: 7,
            problem: None,
        };
        let bus = |partitions: &[i32]| BusHealth {
            lags: partitions.iter().copied().map(lag).collect(),
            ..BusHealth::default()
        };
        let metrics = Metrics::default();
        for partitions in [&[1, 2][..], &[2]] {
            show_bus(&metrics, &bus(partitions));
            let text = metrics.render();
            let shown = text.matches("anomalyzer_bus_lag_messages{").count();
            assert_eq!(shown, partitions.len(), "{text}");
        }
    }

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
