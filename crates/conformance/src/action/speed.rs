//! Speed and memory of an action on this machine. They are figures, not checks.

use std::time::Instant;

use super::simulate::Stage;
use crate::report::Report;
use anomalyzer_plugin_host::ActionOutcome;

const ROUNDS: usize = 5;

/// Measures a few rounds and reports the quickest one. The slower rounds also measure other
/// processes.
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
        // The previous run may still have been counted, because its memory is freed a moment after
        // its drop.
        memory = memory.max(stage.memory().saturating_sub(before));
    }
    report.figure("opening a run", opening, "ms");
    report.figure("its first step", first, "µs");
    report.figure("memory of a run", memory as f64 / 1024.0, "KiB");
}
