//! Facts about the change that the judged operation makes.

use anomalyzer_domain::{Operation, solutions};

use crate::Facts;

pub(super) fn changed(facts: &Facts) -> Option<&Operation> {
    facts
        .operation
        .as_ref()
        .filter(|operation| changes_target(operation))
}

/// Returns the operation if it changes its target, or changes the solution's target by a request.
pub(super) fn affecting(facts: &Facts) -> Option<&Operation> {
    changed(facts).or_else(|| {
        facts
            .operation
            .as_ref()
            .filter(|_| facts.effect().is_some())
    })
}

/// Returns true if the operation, or the solution as a whole, changes nothing.
pub(super) fn only_tells_people(facts: &Facts) -> bool {
    match &facts.operation {
        Some(operation) => matches!(operation, Operation::Notify(_)),
        None => matches!(
            facts.solution.as_str(),
            solutions::NO_ACTION
                | solutions::ALARM
                | solutions::CHECK_LOGS
                | solutions::INVESTIGATE
        ),
    }
}

/// Returns true if the operation names a target and changes it, unlike a notice or a request.
fn changes_target(operation: &Operation) -> bool {
    !operation.is_read() && operation.target().is_some()
}
