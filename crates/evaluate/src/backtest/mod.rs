//! Runs the whole pipeline over recorded metrics with simulated time, and reports the incidents,
//! the decisions and the operations that would have followed.
//!
//! Detectors, incidents, rules and guard are the parts that the service runs. An operation has no
//! effect on the recorded metrics, so an incident that continues after an operation counts as an
//! incident that the operation did not help.

mod data;
mod feed;
mod report;
mod trial;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use anomalyzer_collect::{CollectConfig, SignalConfig};
use anomalyzer_detect::{Engine, EngineError, IncidentConfig, IncidentCorrelator, IncidentLog};
use anomalyzer_diagnose::{Diagnoser, DiagnoserConfig};
use anomalyzer_domain::{Clock, DetectorConfig, IncidentEvent, IncidentEventKind, UnixMs};
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use anomalyzer_policy::Policy;
use anomalyzer_remediate::verification::VerifyConfig;
use anomalyzer_remediate::{Candidates, candidate_actions};

pub use data::{DataError, Recorded, of_files, of_history, of_prometheus};
pub use report::{Count, Incident, Outcome, Report, Tried, panels};
pub use trial::{TrialConfig, TrialLimits, detector_must_pass, must_pass, recorded};

use feed::{Collected, Nowhere, ticks};
use world::World;

/// The settings of the service that a backtest depends on.
#[derive(Clone, Debug)]
pub struct BacktestSetup {
    /// Folder of the history, and of the list of passed trials.
    pub data_dir: PathBuf,
    /// Configured signals.
    pub signals: Vec<SignalConfig>,
    /// Interval of the samples, and the Prometheus that has the past.
    pub collect: CollectConfig,
    /// Detectors on signals that are not configured.
    pub fallback_detectors: Vec<DetectorConfig>,
    /// Time without an answer after which the absence of a signal is a finding.
    pub silent_after: Duration,
    /// Thresholds of incidents.
    pub incidents: IncidentConfig,
    /// Bounds of a diagnosis.
    pub diagnose: DiagnoserConfig,
    /// Policy of the guard.
    pub policy: Policy,
    /// Settings that decide which actions may be proposed.
    pub candidates: Candidates,
    /// Times after which the effect of an operation is verified.
    pub verify: VerifyConfig,
    /// Limits and compiler of the plugins, for the trial of an uploaded detector.
    pub plugins: PluginConfig,
    /// Trial that a configuration or a detector must pass.
    pub trial: Option<TrialConfig>,
}

/// A backtest that failed.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A detector cannot be opened, or failed.
    #[error(transparent)]
    Detect(#[from] EngineError),
    /// Any other reason, with the remedy.
    #[error("{0}")]
    Wrong(String),
    /// A shutdown was requested.
    #[error("interrupted")]
    Interrupted,
}

/// Runs the backtest over the recorded series. Calls `progress` after each interval with the number
/// of messages processed.
///
/// # Errors
/// Returns an error if a detector cannot be opened or fails, or if a shutdown is requested.
pub async fn run(
    setup: &BacktestSetup,
    plugins: &Plugins,
    recorded: &[Recorded],
    shutdown: &CancellationToken,
    progress: impl Fn(usize),
) -> Result<Report, BacktestError> {
    let time = Arc::new(AtomicI64::new(0));
    let clock: Clock = Arc::new({
        let time = Arc::clone(&time);
        move || time.load(Ordering::Relaxed)
    });
    let bus = Arc::new(Collected::default());
    let mut engine = Engine::new(
        bus.clone(),
        plugins.clone(),
        setup
            .signals
            .iter()
            .filter(|signal| recorded.iter().any(|one| one.signal == signal.name))
            .map(SignalConfig::watched)
            .collect(),
        setup.fallback_detectors.clone(),
        IncidentCorrelator::new(setup.incidents.clone(), IncidentLog::default()),
        setup.silent_after,
    );
    engine.open_configured().await?;
    let offer = candidate_actions(setup.candidates.clone(), plugins.clone());
    let diagnoser =
        Diagnoser::new(setup.diagnose.clone(), None, offer, clock).map_err(BacktestError::Wrong)?;
    let mut world = World::new(setup);
    let mut due: Vec<(UnixMs, IncidentEvent)> = Vec::new();
    let mut done = 0;
    for tick in ticks(recorded, setup.collect.interval) {
        if shutdown.is_cancelled() {
            return Err(BacktestError::Interrupted);
        }
        time.store(tick.at, Ordering::Relaxed);
        engine.process_batch(&tick.deliveries, &mut Nowhere).await?;
        let mut asked: Vec<IncidentEvent> = bus.take();
        asked.retain(|event| {
            world.see(event);
            event.kind == IncidentEventKind::Confirmed
        });
        // An operation that did not help leads to another diagnosis of its incident.
        for (_, event) in due.extract_if(.., |(at, _)| *at <= tick.at) {
            asked.extend(world.goes_on(&event, tick.at));
        }
        for event in asked {
            let Some(solution) = diagnoser.solve(&event).await else {
                continue;
            };
            if let Some(after) = world.decide(&event, &solution, tick.at) {
                let again = IncidentEvent {
                    kind: IncidentEventKind::Gathered,
                    attempt: event.attempt + 1,
                    witnesses: vec![],
                    ..event
                };
                due.push((tick.at.saturating_add(after), again));
            }
        }
        done += tick.deliveries.len();
        progress(done);
    }
    Ok(world.report(recorded))
}
