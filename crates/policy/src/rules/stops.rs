//! Rules that stop all operations, or those on a target, for a time.

use anomalyzer_domain::rfc3339;

use super::answer::{Answer, deny};
use super::changes::only_tells_people;
use super::consent::a_person_wants_it;
use crate::{Facts, Policy};

/// Denies almost everything while the kill switch is on, regardless of the requester. Only
/// notices and reads remain allowed.
pub(super) fn kill_switch(facts: &Facts, _: &Policy) -> Answer {
    let why = facts.stopped.as_ref()?;
    if only_tells_people(facts) {
        None
    } else {
        deny(format!("the kill switch is on: {why}"))
    }
}

/// Denies almost everything while the record differs from its events. The cooldown, the budgets and
/// the memory of what was done come from the record.
pub(super) fn record(facts: &Facts, _: &Policy) -> Answer {
    let mismatch = facts.record_mismatch.as_ref()?;
    if only_tells_people(facts) {
        None
    } else {
        deny(format!("the record can't be trusted: {mismatch}"))
    }
}

/// Denies operations on a silenced target, unless a person wants them. That person knows of the
/// silence.
pub(super) fn silence(facts: &Facts, policy: &Policy) -> Answer {
    let why = facts
        .silenced
        .as_ref()
        .filter(|_| facts.operation.is_some() && !a_person_wants_it(facts, policy))?;
    deny(format!("the target is silenced: {why}"))
}

/// Denies operations during planned maintenance, because failures are expected then. A person who
/// requests an operation knows of the maintenance.
pub(super) fn maintenance(facts: &Facts, policy: &Policy) -> Answer {
    let operation = facts.operation.as_ref()?;
    if a_person_wants_it(facts, policy) {
        return None;
    }
    let target = operation.target().or(facts.target.as_ref())?;
    let (window, since) = policy.maintenance.iter().find_map(|window| {
        let since = window
            .since(facts.now)
            .filter(|_| window.targets.matches(target))?;
        Some((window, since))
    })?;
    let why = window
        .why
        .as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    deny(format!(
        "maintenance of {target} began at {}{why}",
        rfc3339(since)
    ))
}
