//! State of the rollback of a decision.

use super::effects::is_done;
use anomalyzer_domain::{Decision, DecisionState, Undo, UndoState, UnixMs};

/// Sets the state of the decision's rollback.
pub(super) fn set_undo(decision: &mut Decision, state: UndoState, at: UnixMs, reason: String) {
    decision.undo = Some(Undo { state, at, reason });
}

/// Returns true while the decision's operations are being taken back.
pub(super) fn is_rolling_back(decision: &Decision) -> bool {
    decision
        .undo
        .as_ref()
        .is_some_and(|undo| undo.state == UndoState::Undoing)
}

/// Returns the state in which a decision ends after its rollback.
pub(super) fn state_after_rollback(decision: &Decision) -> DecisionState {
    let undone = decision
        .operations
        .iter()
        .any(|it| it.undoes.is_some() && is_done(it));
    if undone {
        DecisionState::Undone
    } else {
        DecisionState::Done
    }
}
