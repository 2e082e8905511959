//! Builds the executor of decisions, with the operators that change targets.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use anomalyzer_bus::Bus;
use anomalyzer_collect::{MetricSource, SignalSource};
use anomalyzer_domain::{Clock, Parameters, millis};
use anomalyzer_egress::http::HttpSender;
use anomalyzer_egress::notify::Notifier;
use anomalyzer_history::History;
use anomalyzer_operator::Operator;
use anomalyzer_operator_kubernetes::Kubernetes;
use anomalyzer_operator_process::Local;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{
    Dispatcher, Executor, InFlight, KillSwitch, OffRecord, OpenIncidents, Silences,
};
use anomalyzer_verification::RecentSamples;

/// Shared parts of the executor.
pub(super) struct ExecutorParts {
    pub plugins: Plugins,
    pub history: History,
    pub bus: Arc<dyn Bus>,
    pub recent: RecentSamples,
    pub incidents: OpenIncidents,
    pub clock: Clock,
    pub silences: Silences,
}

/// Builds the executor.
pub(super) fn executor(
    config: &Config,
    dispatcher: Dispatcher,
    off_record: OffRecord,
    parts: ExecutorParts,
) -> Arc<Executor> {
    let began = std::time::Instant::now();
    Arc::new(Executor {
        config: config.act.clone(),
        verify: config.verify.clone(),
        timing: config.signal_timing(),
        policy: config.guard.clone(),
        grants: config.grants(),
        rate_limits: rate_limits(config),
        plugins: parts.plugins,
        dispatcher,
        history: parts.history,
        bus: parts.bus,
        recent: parts.recent,
        incidents: parts.incidents,
        clock: parts.clock,
        monotonic: Arc::new(move || millis(began.elapsed())),
        kill_switch: KillSwitch::in_folder(&config.data_dir),
        silences: parts.silences,
        off_record,
        in_flight: InFlight::default(),
    })
}

/// Connects to everything through which operations run.
///
/// # Errors
/// The cluster cannot be reached, or a configured notification or endpoint is not usable.
pub(super) async fn dispatcher(
    config: &Config,
    local: Option<&Arc<Local>>,
    source: &Arc<dyn MetricSource>,
    notifier: Arc<Notifier>,
    clock: Clock,
) -> anyhow::Result<Dispatcher> {
    let mut operators: Vec<Arc<dyn Operator>> = Vec::new();
    if let Some(local) = local {
        operators.push(Arc::clone(local) as Arc<dyn Operator>);
    }
    if let Some(kubernetes) = &config.kubernetes {
        operators.push(Arc::new(Kubernetes::connect(kubernetes).await?));
    }
    notifier.resume().await;
    Ok(Dispatcher {
        operators,
        notifier,
        http: Arc::new(HttpSender::new(&config.http).map_err(anyhow::Error::msg)?),
        metrics: Arc::clone(source),
        queries: queries(config),
        clock,
    })
}

/// Parameters of `rate_limit` by target.
fn rate_limits(config: &Config) -> HashMap<String, Parameters> {
    let limits = config.rate_limit.iter();
    limits
        .map(|limit| (limit.target.key(), limit.parameters()))
        .collect()
}

/// Queries by signal, for the signals that have one.
fn queries(config: &Config) -> HashMap<String, String> {
    let signals = config.signals().into_iter();
    signals
        .filter_map(|signal| match signal.source {
            SignalSource::Query(query) => Some((signal.name, query)),
            _ => None,
        })
        .collect()
}
