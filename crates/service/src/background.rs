//! The table of background work: one line per task.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use anomalyzer_bus::{Bus, BusError};
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_detect::IncidentLog;
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::Clock;
use anomalyzer_egress::notify::Notifier;
use anomalyzer_history::{History, HistoryReader};
use anomalyzer_operator_process::Local;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{Executor, OpenIncidents};
use anomalyzer_verification::RecentSamples;

use super::collector::CollectorFactory;
use super::engine::EngineFactory;
use super::tasks::Tasks;
use super::{blind_spots, incidents, plugins, recent};

/// Parts on which the server's tasks work.
pub(super) struct ServerWork {
    pub config: Arc<Config>,
    pub bus: Arc<dyn Bus>,
    pub clock: Clock,
    pub history: History,
    /// Consumer group that reads `incidents-topic` for the history.
    pub incident_group: String,
    pub incidents: OpenIncidents,
    pub recent: RecentSamples,
    pub executor: Arc<Executor>,
    pub collector: CollectorFactory,
    /// Supervisor of process groups, if any are configured.
    pub local: Option<Arc<Local>>,
}

/// Spawns the tasks of the server.
pub(super) fn spawn_server_tasks(tasks: &Tasks, work: &Arc<ServerWork>) {
    if let Some(local) = &work.local {
        tasks.spawn_supervised("groups", local, supervise_process_groups);
    }
    tasks.spawn_supervised("anchors", work, anchor_history);
    work.history.expect_verification();
    tasks.spawn_supervised("audit", work, verify_history);
    tasks.spawn_supervised("retention", work, retain_history);
    tasks.spawn_supervised("incidents", work, record_incidents);
    tasks.spawn_supervised("recent", work, follow_samples);
    tasks.spawn_supervised("act", work, execute_solutions);
    tasks.spawn_supervised("sources", work, collect_metrics);
}

/// Parts on which the engine's tasks work.
pub(super) struct EngineWork {
    pub bus: Arc<dyn Bus>,
    pub engine: EngineFactory,
    pub diagnoser: Arc<Diagnoser>,
}

/// Spawns the tasks of the engine, besides [`spawn_incident_follower`].
pub(super) fn spawn_engine_tasks(tasks: &Tasks, work: &Arc<EngineWork>) {
    tasks.spawn_supervised("detect", work, detect);
    tasks.spawn_supervised("diagnose", work, diagnose);
}

/// Spawns the task that reads the open incidents for the engine. It starts before the engine, which
/// continues these incidents.
pub(super) fn spawn_incident_follower(tasks: &Tasks, bus: &Arc<dyn Bus>, known: &IncidentLog) {
    let state = (Arc::clone(bus), known.clone());
    tasks.spawn_supervised("known incidents", &state, follow_incidents);
}

/// Spawns the task that watches the plugin folder, in every role. Only the server has a history.
pub(super) fn spawn_plugin_watcher(tasks: &Tasks, plugins: &Plugins, history: Option<&History>) {
    let state = (plugins.clone(), history.cloned());
    tasks.spawn_supervised("plugin folder", &state, watch_plugin_folder);
}

/// Spawns the task that tells people about blind spots, in every role. It watches the channels of
/// the notifier `watched` too.
pub(super) fn spawn_blind_spot_notices(
    tasks: &Tasks,
    config: &Config,
    spots: &BlindSpots,
    watched: &Arc<Notifier>,
) -> Result<()> {
    let notifiers = Notifiers {
        own: Arc::new(Notifier::new(config.notify.clone())?),
        watched: Arc::clone(watched),
    };
    let state = (spots.clone(), notifiers, config.silent_after);
    tasks.spawn_supervised("blind spot notices", &state, tell_of_blind_spots);
    Ok(())
}

async fn supervise_process_groups(
    local: Arc<Local>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    local.run(stop).await;
    Ok(())
}

async fn anchor_history(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), Infallible> {
    let (config, reader) = (
        work.config.anchor.clone(),
        HistoryReader::clone(&work.history),
    );
    anomalyzer_history::anchor(
        config,
        reader,
        Arc::clone(&work.bus),
        work.clock.clone(),
        stop,
    )
    .await
}

async fn verify_history(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), Infallible> {
    let (config, history) = (work.config.audit.clone(), work.history.clone());
    anomalyzer_history::verify(config, history, work.clock.clone(), stop).await
}

async fn retain_history(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), Infallible> {
    let (config, history) = (work.config.retention.clone(), work.history.clone());
    anomalyzer_history::retain(config, history, work.clock.clone(), stop).await
}

async fn record_incidents(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), BusError> {
    let (bus, group) = (Arc::clone(&work.bus), work.incident_group.clone());
    incidents::run(
        bus,
        group,
        work.history.clone(),
        work.incidents.clone(),
        stop,
    )
    .await
}

async fn follow_samples(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), BusError> {
    recent::run(Arc::clone(&work.bus), work.recent.clone(), stop).await
}

async fn execute_solutions(work: Arc<ServerWork>, stop: CancellationToken) -> Result<(), BusError> {
    Arc::clone(&work.executor).run("anomalyzer-act", stop).await
}

async fn collect_metrics(work: Arc<ServerWork>, stop: CancellationToken) -> Result<()> {
    work.collector.run(stop).await
}

async fn detect(work: Arc<EngineWork>, stop: CancellationToken) -> Result<()> {
    work.engine.run(stop).await
}

async fn diagnose(work: Arc<EngineWork>, stop: CancellationToken) -> Result<(), BusError> {
    let (bus, diagnoser) = (Arc::clone(&work.bus), Arc::clone(&work.diagnoser));
    diagnoser.run(bus, "anomalyzer-diagnose", stop).await
}

async fn follow_incidents(
    (bus, known): (Arc<dyn Bus>, IncidentLog),
    stop: CancellationToken,
) -> Result<(), BusError> {
    known.follow(bus.as_ref(), stop).await
}

/// The notifier that tells of blind spots, and the notifier of all other notices, whose channels
/// are watched.
#[derive(Clone)]
struct Notifiers {
    own: Arc<Notifier>,
    watched: Arc<Notifier>,
}

async fn tell_of_blind_spots(
    (spots, notifiers, after): (BlindSpots, Notifiers, Duration),
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let Notifiers { own, watched } = notifiers;
    blind_spots::run(spots, &own, &watched, after, stop).await
}

async fn watch_plugin_folder(
    (plugins, history): (Plugins, Option<History>),
    stop: CancellationToken,
) -> Result<(), Infallible> {
    plugins::run(plugins, history, stop).await;
    Ok(())
}
