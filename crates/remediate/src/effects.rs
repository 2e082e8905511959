//! Effects of operations, as the record of a decision shows them.

use anomalyzer_domain::{Decision, Operation, OperationRecord, OutcomeKind};

/// Returns true if an operation changed something that a verification can see, or may have.
pub(super) fn may_have_changed(decision: &Decision) -> bool {
    decision.operations.iter().any(|record| {
        let effect =
            !record.operation.is_read() && !matches!(record.operation, Operation::Notify(_));
        let outcome = record.outcome.as_ref().map(|outcome| outcome.kind);
        effect && matches!(outcome, Some(OutcomeKind::Done | OutcomeKind::InDoubt))
    })
}

/// Returns true if the operation was performed.
pub(super) fn is_done(record: &OperationRecord) -> bool {
    record
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
}

/// Returns true if the action changed something by this operation.
pub(super) fn is_change(record: &OperationRecord) -> bool {
    let change = !record.operation.is_read() && !matches!(record.operation, Operation::Notify(_));
    change && record.undoes.is_none() && is_done(record)
}
