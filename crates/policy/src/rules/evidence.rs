//! Rules about the incident and its data, which must justify the operation.

use anomalyzer_domain::{Operation, Snapshot, millis, rfc3339, solutions};

use super::answer::{Answer, deny};
use super::consent::a_person_wants_it;
use crate::{Facts, Policy};

/// Denies everything but notices if the incident is not known here. The host can't tell then if the
/// incident is still open.
pub(super) fn incident_unknown(facts: &Facts, policy: &Policy) -> Answer {
    if a_person_wants_it(facts, policy) {
        return None;
    }
    let unknown = facts.incident.as_ref()?.open.is_none();
    match &facts.operation {
        Some(operation) if unknown && !matches!(operation, Operation::Notify(_)) => {
            deny("the incident is not known here, so that nobody can tell whether it goes on")
        }
        _ => None,
    }
}

pub(super) fn incident_cleared(facts: &Facts, _: &Policy) -> Answer {
    let incident = facts.incident.as_ref()?;
    // Taking no action, telling people, or rolling back a change is right even after the incident
    // is over.
    let harmless = facts.takes_back
        || matches!(
            facts.solution.as_str(),
            solutions::NO_ACTION | solutions::ALARM
        );
    if incident.open != Some(false) || harmless {
        return None;
    }
    deny("the incident has cleared by itself")
}

/// Denies drastic operations without complete and fresh data. Missing data does not mean zero. An
/// operation is drastic if it removes capacity or interrupts service. A person who requests it has
/// checked the situation. A rollback that replaces what this decision changed restores the state
/// from before, which needs no data.
pub(super) fn missing_data(facts: &Facts, policy: &Policy) -> Answer {
    let effect = facts.effect();
    let current = current_replicas(facts.snapshot.as_ref());
    let removes = |replicas| current.is_none_or(|current| replicas < current);
    let drastic = match &facts.operation {
        Some(_) => effect.replicas.is_some_and(removes) || effect.interrupts && !facts.takes_back,
        None => matches!(
            facts.solution.as_str(),
            solutions::SCALE_DOWN | solutions::RESTART_SERVICE
        ),
    };
    if !drastic || a_person_wants_it(facts, policy) {
        return None;
    }
    let Some(incident) = &facts.incident else {
        return deny("there is no incident, so no data, to justify this");
    };
    if !incident.coverage.is_complete() {
        let coverage = incident.coverage;
        return deny(format!(
            "only {} of {} sources answered: missing data never justifies this",
            coverage.answered, coverage.asked
        ));
    }
    let oldest = facts.now - millis(policy.max_sample_age);
    match incident.as_of {
        Some(as_of) if as_of >= oldest => None,
        Some(as_of) => deny(format!(
            "the newest sample of a signal is from {}: stale data never justifies this",
            rfc3339(as_of)
        )),
        None => deny("a signal of the incident has no samples: missing data never justifies this"),
    }
}

fn current_replicas(snapshot: Option<&Snapshot>) -> Option<u32> {
    snapshot
        .and_then(|snapshot| snapshot.replicas)
        .map(|replicas| replicas.desired)
}
