//! Replays the verdicts of the guard.

use super::options::Instead;
use super::step::{Came, Stage, Step, text};
use anomalyzer_diagnose::serde_name;
use anomalyzer_domain::GuardVerdict;
use anomalyzer_history::{Asked, RecordedEvent};

/// Runs the guard again with the recorded policy or another one.
pub(super) fn again(event: &RecordedEvent, asked: &Asked, instead: &Instead) -> Step {
    let about = asked
        .facts
        .operation
        .as_ref()
        .map_or("the solution as such", |operation| operation.kind());
    let what = format!("{about}, event {} ({})", event.seq, event.kind);
    let policy = instead.policy.as_ref().unwrap_or(&asked.policy);
    let is = anomalyzer_policy::judge(&asked.facts, policy);
    let came = match &instead.policy {
        Some(_) => Came::of(describe(&asked.verdict), describe(&is)),
        None => Came::of(text(&asked.verdict), text(&is)),
    };
    Step {
        stage: Stage::Guard,
        what,
        came,
    }
}

fn describe(verdict: &GuardVerdict) -> String {
    format!(
        "{} by {} ({})",
        serde_name(&verdict.verdict),
        verdict.rule,
        verdict.reason
    )
}
