//! Reports the blind spots of the bus, of the engine and of the plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::engine::DetectionStatus;
use anomalyzer_bus::{Bus, BusHealth};
use anomalyzer_common::blind_spot::{BlindSpotKind, BlindSpots};
use anomalyzer_detect::{DetectStatus, Dropped, EngineLag, EngineProgress};
use anomalyzer_plugin_host::{PluginView, Plugins};

/// Interval between two looks.
const INTERVAL: Duration = Duration::from_secs(3);
/// Lag of the engine from which on it is reported.
const MAX_BEHIND: Duration = Duration::from_secs(60);

/// Blind spots with their descriptions.
type Conditions = BTreeMap<(BlindSpotKind, String), String>;

/// Parts that are watched.
pub(super) struct EngineWatch {
    pub spots: BlindSpots,
    pub bus: Arc<dyn Bus>,
    pub detection: DetectionStatus,
    pub progress: Arc<EngineProgress>,
    pub plugins: Plugins,
}

impl EngineWatch {
    /// Looks every few seconds until the shutdown.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut reported = BTreeSet::new();
        loop {
            report(&self.spots, &mut reported, self.conditions());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = of_bus(&self.bus.health());
        conditions.extend(of_engine(self.progress.lag()));
        for (signal, status) in self.detection.lock().iter() {
            conditions.extend(of_signal(signal, status));
        }
        conditions.extend(self.plugins.views().iter().filter_map(of_plugin));
        conditions
    }
}

/// Reports the present conditions, and the end of those that do not hold any more.
fn report(
    spots: &BlindSpots,
    reported: &mut BTreeSet<(BlindSpotKind, String)>,
    conditions: Conditions,
) {
    for (kind, subject) in reported.iter().filter(|key| !conditions.contains_key(*key)) {
        spots.end(*kind, subject);
    }
    for ((kind, subject), detail) in &conditions {
        spots.report(*kind, subject, detail);
    }
    *reported = conditions.into_keys().collect();
}

fn of_bus(bus: &BusHealth) -> Conditions {
    let stalled = bus.lags.iter().filter_map(|lag| {
        let problem = lag.problem.as_ref()?;
        let subject = format!("{}/{} ({})", lag.topic, lag.partition, lag.group);
        let detail = format!("it {problem}; {} messages wait", lag.messages);
        Some(((BlindSpotKind::StalledPartition, subject), detail))
    });
    stalled.collect()
}

fn of_engine(lag: EngineLag) -> Conditions {
    let behind = (lag.behind >= MAX_BEHIND).then(|| {
        let detail = format!("samples are processed {:.0?} after their time", lag.behind);
        ((BlindSpotKind::EngineBehind, "engine".to_owned()), detail)
    });
    let unreadable = lag.unreadable.map(|Dropped { dropped, of }| {
        let subject = "messages of metrics".to_owned();
        let detail = format!(
            "{dropped} of {of} messages of a minute were set aside as unreadable or with times that are not plausible"
        );
        ((BlindSpotKind::SamplesDropped, subject), detail)
    });
    behind.into_iter().chain(unreadable).collect()
}

fn of_signal(signal: &str, status: &DetectStatus) -> Conditions {
    let key = |kind| (kind, signal.to_owned());
    let dropped = status.dropped.map(|Dropped { dropped, of }| {
        let detail = format!(
            "{dropped} of {of} samples of a minute were late, not plausible or beyond the limit of series"
        );
        (key(BlindSpotKind::SamplesDropped), detail)
    });
    let refused = status.refused_series.as_ref().map(|series| {
        let refused = status.refused;
        let detail = format!("{series}; {refused} samples of such series were dropped so far");
        (key(BlindSpotKind::UnacceptableSeries), detail)
    });
    let never_learns = (!status.never_learns.is_empty()).then(|| {
        let detail = status.never_learns.join(", ");
        (key(BlindSpotKind::NeverLearns), detail)
    });
    let quarantined = (!status.quarantined.is_empty()).then(|| {
        let detail = status.quarantined.join(", ");
        (key(BlindSpotKind::PluginQuarantined), detail)
    });
    dropped
        .into_iter()
        .chain(refused)
        .chain(never_learns)
        .chain(quarantined)
        .collect()
}

fn of_plugin(plugin: &PluginView) -> Option<((BlindSpotKind, String), String)> {
    let quarantine = plugin.quarantine.as_ref()?;
    let subject = format!("plugin {}", plugin.info.name);
    let detail = match quarantine.lifts_at {
        Some(at) => format!(
            "{}; it lifts itself at {}",
            quarantine.reason,
            anomalyzer_domain::rfc3339(at)
        ),
        None => quarantine.reason.clone(),
    };
    Some(((BlindSpotKind::PluginQuarantined, subject), detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_bus::PartitionLag;

    fn kinds(conditions: &Conditions) -> Vec<(&'static str, &str)> {
        let keys = conditions.keys();
        keys.map(|(kind, subject)| (kind.id(), subject.as_str()))
            .collect()
    }

    #[test]
    fn each_condition_of_the_engine_is_a_blind_spot_of_its_own() {
        let lag = |problem: Option<&str>| PartitionLag {
            topic: "metrics-topic".to_owned(),
            partition: 3,
            group: "anomalyzer-detect".to_owned(),
            messages: 7,
            problem: problem.map(str::to_owned),
        };
        let bus = |problem| BusHealth {
            lags: vec![lag(problem)],
            ..BusHealth::default()
        };
        assert!(of_bus(&bus(None)).is_empty());
        let stalled = of_bus(&bus(Some("is held by an open transaction")));
        let subject = "metrics-topic/3 (anomalyzer-detect)";
        assert_eq!(kinds(&stalled), [("stalled_partition", subject)]);
        assert_eq!(
            stalled.into_values().next().unwrap(),
            "it is held by an open transaction; 7 messages wait"
        );

        let dropped = Some(Dropped { dropped: 9, of: 10 });
        assert!(of_engine(EngineLag::default()).is_empty());
        let engine = of_engine(EngineLag {
            behind: MAX_BEHIND,
            unreadable: dropped,
        });
        assert_eq!(
            kinds(&engine),
            [
                ("samples_dropped", "messages of metrics"),
                ("engine_behind", "engine")
            ]
        );

        assert!(of_signal("latency", &DetectStatus::default()).is_empty());
        let signal = of_signal(
            "latency",
            &DetectStatus {
                dropped,
                refused_series: Some("a series has more than 128 labels".to_owned()),
                never_learns: vec!["novelty: 5 series".to_owned()],
                quarantined: vec!["spike is quarantined".to_owned()],
                ..DetectStatus::default()
            },
        );
        assert_eq!(
            kinds(&signal),
            [
                ("samples_dropped", "latency"),
                ("unacceptable_series", "latency"),
                ("never_learns", "latency"),
                ("plugin_quarantined", "latency")
            ]
        );
    }

    #[tokio::test]
    async fn a_condition_that_holds_no_more_is_ended() {
        let (spots, mut reported) = (BlindSpots::default(), BTreeSet::new());
        let behind = of_engine(EngineLag {
            behind: MAX_BEHIND,
            unreadable: None,
        });
        report(&spots, &mut reported, behind);
        assert_eq!(spots.all().len(), 1);
        report(&spots, &mut reported, Conditions::new());
        assert_eq!(spots.all(), []);
    }
}
