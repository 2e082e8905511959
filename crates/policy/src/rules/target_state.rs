//! Rules about the present state of the target and about others who change it.

use anomalyzer_domain::{Autoscaler, Operation, rfc3339};

use super::answer::{Answer, deny};
use super::changes::{affecting, changed};
use super::consent::a_person_wants_it;
use crate::{Facts, Policy};

pub(super) fn unknown_state(facts: &Facts, _: &Policy) -> Answer {
    changed(facts)?;
    if facts.snapshot.is_some() {
        return None;
    }
    match &facts.target_facts.unseen {
        Some(why) => deny(format!("the target can't be looked at: {why}")),
        None => deny("the target can't be looked at"),
    }
}

pub(super) fn rollout_in_progress(facts: &Facts, _: &Policy) -> Answer {
    affecting(facts)?;
    if !facts.snapshot.as_ref()?.rolling_out {
        return None;
    }
    deny("a rollout of the target is in progress")
}

/// Denies a further replacement of pods while the signals of the incident may still repeat the
/// values of the pods that were replaced before: cAdvisor reports the memory of a dead container
/// for five minutes.
pub(super) fn echo(facts: &Facts, policy: &Policy) -> Answer {
    let until = facts.target_facts.echo_until?;
    let replaces = changed(facts)?.replaces_pods();
    if !replaces || facts.takes_back || facts.now >= until || a_person_wants_it(facts, policy) {
        return None;
    }
    deny(format!(
        "the pods were replaced, and until {} the signals may repeat the values of the old ones",
        rfc3339(until)
    ))
}

/// Denies an operation that another controller put back the last time: it would do so again.
pub(super) fn reverted(facts: &Facts, policy: &Policy) -> Answer {
    let by = facts.target_facts.reverted_by.as_ref()?;
    let operation = changed(facts)?;
    if facts.takes_back || a_person_wants_it(facts, policy) {
        return None;
    }
    deny(format!(
        "{by} put the last {} of the target back: change the target where {by} takes it from",
        operation.kind()
    ))
}

pub(super) fn autoscaler(facts: &Facts, policy: &Policy) -> Answer {
    let replicas = facts.effect().replicas?;
    let autoscaler = facts.snapshot.as_ref()?.autoscaler.as_ref()?;
    if policy.override_autoscaler {
        return None;
    }
    deny(format!(
        "{}{}",
        scales(autoscaler),
        other_bounds(autoscaler, replicas)
    ))
}

pub(super) fn gitops(facts: &Facts, policy: &Policy) -> Answer {
    changed(facts)?;
    let owners = &facts.snapshot.as_ref()?.managed_by;
    let owner = owners
        .iter()
        .find(|owner| matches!(owner.as_str(), "argocd" | "flux"))?;
    // A restart changes nothing that Git declares.
    if policy.override_gitops || matches!(facts.operation, Some(Operation::Restart { .. })) {
        return None;
    }
    deny(format!("{owner} owns the target and would put it back"))
}

fn scales(
    Autoscaler {
        kind,
        name,
        min,
        max,
    }: &Autoscaler,
) -> String {
    format!("{kind} {name} scales the target between {min} and {max} replicas")
}

/// Returns the remedy for a person if the autoscaler can't reach `replicas` by itself.
fn other_bounds(autoscaler: &Autoscaler, replicas: u32) -> String {
    let (least, most) = match autoscaler.kind.as_str() {
        "ScaledObject" => ("minReplicaCount", "maxReplicaCount"),
        _ => ("minReplicas", "maxReplicas"),
    };
    if replicas > autoscaler.max {
        format!(": for {replicas}, raise its {most}")
    } else if replicas < autoscaler.min {
        format!(": for {replicas}, lower its {least}")
    } else {
        String::new()
    }
}
