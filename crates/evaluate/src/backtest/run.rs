//! Runs the pipeline over recorded series, with simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio_util::sync::CancellationToken;

use super::data::Recorded;
use super::error::BacktestError;
use super::feed::{Collected, Nowhere, ticks};
use super::report::Report;
use super::setup::BacktestSetup;
use super::world::World;
use anomalyzer_collect::SignalConfig;
use anomalyzer_detect::{Engine, IncidentCorrelator, IncidentLog};
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::{Clock, IncidentEvent, IncidentEventKind, UnixMs};
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::candidate_actions;

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
