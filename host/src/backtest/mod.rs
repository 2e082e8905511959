//! The whole pipeline over recorded metrics, with time simulated: what would have been found,
//! decided, allowed and done.
//!
//! Detectors, incidents, rules and guard are those of the service. What is done has no effect on
//! what was recorded, so that an incident that goes on after an operation counts as one that it did
//! not help.

mod data;
mod feed;
mod report;
mod trial;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::detect::{Engine, EngineError, IncidentBook, KnownIncidents};
use crate::diagnose::Diagnoser;
use crate::domain::{Clock, IncidentEvent, IncidentEventKind, UnixMs};
use crate::plugin::Plugins;

pub use data::{DataError, Recorded, of_files, of_history, of_prometheus};
pub use report::{Count, Incident, Outcome, Report, Tried, panels};
pub use trial::{TrialConfig, TrialLimits, detector_must_pass, must_pass, recorded};

use feed::{Collected, Nowhere, ticks};
use world::World;

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The detecting half.
    #[error(transparent)]
    Detect(#[from] EngineError),
    /// Something else, with the remedy.
    #[error("{0}")]
    Wrong(String),
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Runs the recorded series through. `progress` is told how many samples were, now and then.
///
/// # Errors
/// A detector can't be opened or failed, there is nothing to run, or it was told to stop.
pub async fn run(
    config: &Config,
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
        config
            .signals()
            .into_iter()
            .filter(|signal| recorded.iter().any(|one| one.signal == signal.name))
            .collect(),
        config.fallback_detectors.clone(),
        IncidentBook::new(config.incidents.clone(), KnownIncidents::default()),
        config.silent_after,
        None,
    );
    engine.open_configured().await?;
    let offer = crate::act::candidate_actions(config.candidates(), plugins.clone());
    let diagnoser = Diagnoser::new(config.diagnose.clone(), None, offer, clock)
        .map_err(BacktestError::Wrong)?;
    let mut world = World::new(config);
    let mut due: Vec<(UnixMs, IncidentEvent)> = Vec::new();
    let mut done = 0;
    for tick in ticks(recorded, config.collect.interval) {
        if shutdown.is_cancelled() {
            return Err(BacktestError::Interrupted);
        }
        time.store(tick.at, Ordering::Relaxed);
        engine.handle(&tick.deliveries, &mut Nowhere).await?;
        let mut asked: Vec<IncidentEvent> = bus.take();
        asked.retain(|event| {
            world.see(event);
            event.kind == IncidentEventKind::Confirmed
        });
        // What was tried and did not help is thought of again.
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
