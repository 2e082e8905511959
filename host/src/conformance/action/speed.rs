//! What an action costs on this machine. Figures, not checks.

use std::time::Instant;

use super::play::Stage;
use crate::conformance::report::Report;
use crate::plugin::ActionOutcome;

const ROUNDS: usize = 5;

/// The quickest of a few rounds: the rest is what else ran.
pub(super) async fn measure(stage: &Stage<'_>, report: &mut Report) {
    let (mut opening, mut first) = (f64::MAX, f64::MAX);
    let mut memory = 0;
    let incident = stage.usual();
    for _ in 0..ROUNDS {
        let before = stage.memory();
        let begun = Instant::now();
        let Ok(run) = stage.open_usual(&incident).await else {
            return;
        };
        opening = opening.min(begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        if run.next(0, ActionOutcome::Begin).await.is_err() {
            return;
        }
        first = first.min(begun.elapsed().as_secs_f64() * 1e6);
        // The run before may still have been there, as it goes a moment after it was dropped.
        memory = memory.max(stage.memory().saturating_sub(before));
    }
    report.figure("opening a run", opening, "ms");
    report.figure("its first step", first, "µs");
    report.figure("memory of a run", memory as f64 / 1024.0, "KiB");
}
