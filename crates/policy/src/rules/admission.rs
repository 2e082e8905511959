//! Rules about the solution itself: its target, its age and its author.

use anomalyzer_domain::{Operation, Verdict, rfc3339, solutions};

use super::answer::{Answer, deny};
use super::consent::approved;
use crate::{Facts, Foreign, Policy, Source};

pub(super) fn no_target(facts: &Facts, _: &Policy) -> Answer {
    if facts.target.is_some() {
        return None;
    }
    deny("the solution names no target")
}

/// Denies `rate_limit` without a configuration. Only the configuration says what to patch or to
/// call.
pub(super) fn rate_limit(facts: &Facts, _: &Policy) -> Answer {
    if facts.solution != solutions::RATE_LIMIT || facts.rate_limit.is_some() {
        return None;
    }
    let target = facts.target.as_ref()?;
    deny(format!(
        "no [[rate_limit]] is configured for {target}: add one that says what to patch or to call"
    ))
}

/// Denies an operation on a target other than the solution's. The one exception is `rate_limit`:
/// the configuration may name an Ingress in front of the target, which it patches instead.
pub(super) fn other_target(facts: &Facts, _: &Policy) -> Answer {
    let operation = facts.operation.as_ref()?;
    let touched = operation.target()?;
    let target = facts.target.as_ref()?;
    let way_in = match (operation, &facts.rate_limit) {
        (Operation::Patch(_), Some(limit)) if facts.solution == solutions::RATE_LIMIT => {
            limit.patches.as_ref()
        }
        _ => None,
    };
    if touched == target || way_in == Some(touched) {
        return None;
    }
    deny(format!(
        "the operation touches {touched}, the solution is about {target}"
    ))
}

pub(super) fn expired(facts: &Facts, _: &Policy) -> Answer {
    if facts.now <= facts.expires_at {
        return None;
    }
    deny(format!(
        "the solution expired at {}",
        rfc3339(facts.expires_at)
    ))
}

pub(super) fn foreign(facts: &Facts, policy: &Policy) -> Answer {
    if facts.source != Source::Foreign {
        return None;
    }
    let effect = facts
        .operation
        .as_ref()
        .is_some_and(|operation| !operation.is_read());
    match policy.foreign {
        Foreign::Hold if effect && !approved(facts) => Some((
            Verdict::Hold,
            "it was written to the topic by someone else: a person must say yes".into(),
        )),
        Foreign::Deny => deny("it was written to the topic by someone else"),
        Foreign::Allow | Foreign::Hold => None,
    }
}

/// Allows read-only operations at once. They are allowed in a dry run too, and none of the later
/// rules applies to them.
pub(super) fn read(facts: &Facts, _: &Policy) -> Answer {
    let operation = facts.operation.as_ref()?;
    operation
        .is_read()
        .then(|| (Verdict::Allow, "it only reads".into()))
}
