//! Asks the parts for their health every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::blind_spots;
use super::engine::DetectionStatus;
use super::health::{Health, Status};
use super::storage::Stores;
use anomalyzer_bus::Bus;
use anomalyzer_collect::StatusBoard;
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::{Clock, UnixMs, rfc3339};
use anomalyzer_egress::notify::{ChannelStatus, Notifier};
use anomalyzer_history::HistoryReader;
use anomalyzer_operator::Operator;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::KillSwitch;

/// Interval between two rounds of checks.
const HEALTH_INTERVAL: Duration = Duration::from_secs(3);
/// Longest wait for the answer of an operator.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(3);

/// Share of its bound from which a file is nearly full.
const NEARLY_FULL_PERCENT: u64 = 95;
/// Difference between clocks that is no error, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 5_000;

/// A part that is asked for its health. Supervised tasks report theirs by themselves.
pub(super) enum HealthCheck {
    /// The bus.
    Bus(Arc<dyn Bus>),
    /// The plugins.
    Plugins(Plugins),
    /// The detectors of each signal.
    Detectors(DetectionStatus),
    /// The model that diagnoses.
    Analyst(Arc<Diagnoser>),
    /// The kill switch.
    KillSwitch(KillSwitch),
    /// An operator.
    Operator(Arc<dyn Operator>),
    /// The channels for notices.
    Notices(Arc<Notifier>),
    /// The sources of metrics.
    Collect(StatusBoard),
    /// The blind spots of all parts.
    BlindSpots(BlindSpots),
    /// The files of the data folder.
    Storage(Stores),
    /// The wall clock, compared with the times on record.
    Clock(HistoryReader, Clock),
}

impl HealthCheck {
    /// Name of the part in `/health`.
    fn name(&self) -> &'static str {
        match self {
            Self::Bus(_) => "bus",
            Self::Plugins(_) => "plugins",
            Self::Detectors(_) => "detectors",
            Self::Analyst(_) => "analyst",
            Self::KillSwitch(_) => "kill switch",
            Self::Operator(operator) => operator.name(),
            Self::Notices(_) => "notices",
            Self::Collect(_) => "collect",
            Self::BlindSpots(_) => "blind spots",
            Self::Storage(_) => "storage",
            Self::Clock(..) => "clock",
        }
    }

    async fn run(&self) -> (Status, String) {
        match self {
            Self::Bus(bus) => bus_health(bus.as_ref()),
            Self::Plugins(plugins) => plugin_health(plugins),
            Self::Detectors(detection) => detector_health(detection),
            Self::Analyst(diagnoser) => analyst_health(diagnoser).await,
            Self::KillSwitch(switch) => kill_switch_health(switch),
            Self::Operator(operator) => operator_health(operator.as_ref()).await,
            Self::Notices(notifier) => notice_health(&notifier.status()),
            Self::Collect(status) => collect_health(status),
            Self::BlindSpots(spots) => blind_spots::health(spots),
            Self::Storage(stores) => storage_health(stores),
            Self::Clock(history, clock) => clock_health(history, clock()).await,
        }
    }
}

/// Runs all checks every few seconds until the shutdown.
pub(super) async fn health_loop(
    checks: Arc<[HealthCheck]>,
    health: Health,
    shutdown: CancellationToken,
) {
    loop {
        refresh_health(&checks, &health).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
}

/// Runs all checks once, one after the other.
pub(super) async fn refresh_health(checks: &[HealthCheck], health: &Health) {
    for check in checks {
        let (status, detail) = check.run().await;
        health.set(check.name(), status, detail);
    }
}

fn bus_health(bus: &dyn Bus) -> (Status, String) {
    let bus = bus.health();
    match bus.problem {
        Some(problem) => (Status::Broken, problem),
        None => {
            let waiting = format!("{}: {} of {} waiting", bus.kind, bus.waiting, bus.capacity);
            let stalled: Vec<_> = bus
                .lags
                .iter()
                .filter_map(|lag| {
                    let problem = lag.problem.as_ref()?;
                    let (topic, partition) = (&lag.topic, lag.partition);
                    Some(format!(
                        "partition {partition} of {topic} {problem}; {} messages wait",
                        lag.messages
                    ))
                })
                .collect();
            match stalled.first() {
                Some(first) => (
                    Status::Degraded,
                    format!(
                        "{waiting}; {} partitions stand still; {first}",
                        stalled.len()
                    ),
                ),
                None => (Status::Ok, waiting),
            }
        }
    }
}

fn plugin_health(plugins: &Plugins) -> (Status, String) {
    let plugins = plugins.health();
    // The configuration may say something else by now: it is read at the start.
    let policy = match plugins.requires_signature {
        true => "signatures are required",
        false => "signatures are not required",
    };
    let detail = format!(
        "{} detectors, {} actions, {} faults; {} of {} MiB stored, {} of {} MiB compiled; {policy} since the start",
        plugins.detectors,
        plugins.actions,
        plugins.faults,
        plugins.store_bytes.div_ceil(1 << 20),
        plugins.store_capacity_bytes >> 20,
        plugins.cache_bytes.div_ceil(1 << 20),
        plugins.cache_capacity_bytes >> 20,
    );
    match (plugins.broken.first(), plugins.loading) {
        (Some(broken), _) => (Status::Degraded, format!("{detail}; {broken}")),
        (None, 0) => (Status::Ok, detail),
        (None, loading) => (
            Status::Degraded,
            format!("loading: {loading} left; {detail}"),
        ),
    }
}

/// Another detector stands in for a quarantined one, so that its signal is watched less well.
fn detector_health(detection: &DetectionStatus) -> (Status, String) {
    let detection = detection.lock();
    let mut quarantined = detection
        .iter()
        .filter(|(_, status)| !status.quarantined.is_empty());
    let Some((signal, status)) = quarantined.next() else {
        return (Status::Ok, format!("{} signals", detection.len()));
    };
    let detail = format!(
        "{} of {} signals; {signal}: {}",
        quarantined.count() + 1,
        detection.len(),
        status.quarantined.join(", ")
    );
    // Without a stand-in nothing watches the signal.
    let blind = detection.values().any(|status| status.detectors.is_empty());
    match blind {
        true => (Status::Broken, detail),
        false => (Status::Degraded, detail),
    }
}

/// The rules stand in for the model, so that a broken model makes the service worse, not broken.
async fn analyst_health(diagnoser: &Diagnoser) -> (Status, String) {
    let Some(ollama) = diagnoser.health().await else {
        return (Status::Ok, "rules: no ollama is configured".to_owned());
    };
    match ollama.problem {
        Some(problem) => (Status::Degraded, format!("rules: {problem}")),
        None => (Status::Ok, format!("ollama with {}", ollama.model)),
    }
}

fn kill_switch_health(switch: &KillSwitch) -> (Status, String) {
    match switch.why() {
        Some(why) => (Status::Degraded, format!("on, nothing is changed: {why}")),
        None => (Status::Ok, "off".to_owned()),
    }
}

async fn operator_health(operator: &dyn Operator) -> (Status, String) {
    match tokio::time::timeout(OPERATOR_TIMEOUT, operator.check()).await {
        Ok(Ok(())) => (Status::Ok, "answers".to_owned()),
        Ok(Err(error)) => (Status::Broken, error.to_string()),
        Err(_) => (Status::Broken, "no answer within 3 s".to_owned()),
    }
}

/// A file near its bound soon loses its oldest part, or takes no more.
fn storage_health(stores: &Stores) -> (Status, String) {
    if let Some(first) = stores.set_aside().first() {
        let more = stores.set_aside().len() - 1;
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        return (Status::Degraded, format!("{first}{more}"));
    }
    let sizes = stores.sizes();
    let full = sizes
        .iter()
        .any(|store| store.bytes > store.max_bytes / 100 * NEARLY_FULL_PERCENT);
    let sizes: Vec<_> = sizes
        .iter()
        .map(|store| {
            let (bytes, most) = (mebibytes(store.bytes), mebibytes(store.max_bytes));
            format!("{} {bytes} of {most} MiB", store.name)
        })
        .collect();
    match full {
        true => (
            Status::Degraded,
            format!("nearly full: {}", sizes.join(", ")),
        ),
        false => (Status::Ok, sizes.join(", ")),
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Operations that are dated in the future were recorded while the clock was ahead. They count for
/// nothing, neither for the cooldown nor for the budgets.
async fn clock_health(history: &HistoryReader, now: UnixMs) -> (Status, String) {
    match history
        .operations_after(now.saturating_add(CLOCK_TOLERANCE_MS))
        .await
    {
        Ok(None) => (
            Status::Ok,
            "no time on record lies in the future".to_owned(),
        ),
        Ok(Some((count, last))) => (
            Status::Degraded,
            format!(
                "the clock was ahead: {count} operations on record are dated up to {}, and do not count as recent",
                rfc3339(last)
            ),
        ),
        Err(error) => (Status::Degraded, error.to_string()),
    }
}

/// A channel that fails makes the service worse: people hear of less.
fn notice_health(channels: &[ChannelStatus]) -> (Status, String) {
    let failing = channels.iter().filter_map(|channel| {
        let problem = channel.problem.as_ref()?;
        let (name, waiting) = (&channel.channel, channel.waiting);
        Some(format!("{name} {problem} ({waiting} waiting)"))
    });
    let failing: Vec<_> = failing.collect();
    match failing.is_empty() {
        true => (Status::Ok, format!("{} channels", channels.len())),
        false => (Status::Degraded, failing.join("; ")),
    }
}

/// The service sees less while some sources fail, and nothing while all of them fail.
fn collect_health(status: &StatusBoard) -> (Status, String) {
    let signals = status.all();
    let failing: Vec<_> = signals.iter().filter(|signal| signal.failing).collect();
    let Some(first) = failing.first() else {
        return (Status::Ok, format!("{} signals", signals.len()));
    };
    let failure = first.last_failure.as_ref();
    let detail = format!(
        "{} of {} signals fail; {}: {}",
        failing.len(),
        signals.len(),
        first.signal,
        failure.map_or("", |failure| failure.message.as_str())
    );
    match failing.len() == signals.len() {
        true => (Status::Broken, detail),
        false => (Status::Degraded, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_fails_is_named_with_what_waits_for_it() {
        let channel = |name: &str, problem: Option<&str>| ChannelStatus {
            channel: name.into(),
            waiting: 3,
            delivered: 0,
            lost: 0,
            problem: problem.map(str::to_owned),
        };
        let log = channel("log", None);
        assert_eq!(
            notice_health(std::slice::from_ref(&log)),
            (Status::Ok, "1 channels".into())
        );
        let (status, detail) = notice_health(&[channel("chat", Some("fails since noon")), log]);
        assert_eq!(status, Status::Degraded);
        assert_eq!(detail, "chat fails since noon (3 waiting)");
    }
}
