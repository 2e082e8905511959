//! Limits of what the service may do by itself.

use anomalyzer_domain::{Mode, Operation, Verdict};

use super::answer::Answer;
use super::changes::affecting;
use super::consent::{a_person_wants_it, approved};
use crate::{Facts, Policy};

/// Holds changes while there are many open incidents. Their common cause can't be fixed at each
/// single target.
pub(super) fn storm(facts: &Facts, policy: &Policy) -> Answer {
    affecting(facts)?;
    if facts.open_incidents <= policy.storm_above
        || a_person_wants_it(facts, policy)
        || approved(facts)
    {
        return None;
    }
    let open = facts.open_incidents;
    Some((
        Verdict::Hold,
        format!(
            "a storm: {open} incidents are open, more than {}: a person must say yes",
            policy.storm_above
        ),
    ))
}

/// Applies the strictest of all modes that match: shadow, then approve, then auto. Notices need no
/// approval.
pub(super) fn mode(facts: &Facts, policy: &Policy) -> Answer {
    let operation = facts.operation.as_ref()?;
    let target = operation.target().or(facts.target.as_ref());
    let of_some = policy.modes.iter().filter(|of| {
        of.solution
            .as_ref()
            .is_none_or(|solution| solution.replace('-', "_") == facts.solution)
            && target.is_some_and(|target| of.targets.matches(target))
    });
    let (mode, of) = [
        (policy.mode, "the mode"),
        (facts.plugin_mode, "the mode of the plugin"),
    ]
    .into_iter()
    .chain(of_some.map(|of| (of.mode, "the mode for this in [[guard.modes]]")))
    .min_by_key(|(mode, _)| *mode)?;
    let notice = matches!(operation, Operation::Notify(_));
    match mode {
        Mode::Approve if !notice && !approved(facts) => Some((
            Verdict::Hold,
            format!("{of} is approve: a person must say yes"),
        )),
        Mode::Shadow => Some((
            Verdict::Shadow,
            format!("{of} is shadow: recorded, not done"),
        )),
        Mode::Auto | Mode::Approve => None,
    }
}
