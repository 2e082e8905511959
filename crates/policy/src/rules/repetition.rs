//! Rules about earlier operations: how soon and how often they may be repeated.

use anomalyzer_domain::{Operation, rfc3339};

use super::answer::{Answer, deny};
use super::changes::changed;
use super::consent::a_person_wants_it;
use crate::{Facts, HOUR, Policy};

/// Denies the same solution on the same target within the cooldown. A notice is denied only if its
/// title is the same too, because the cooldown of one alarm must not hide another failure.
pub(super) fn cooldown(facts: &Facts, policy: &Policy) -> Answer {
    let operation = facts
        .operation
        .as_ref()
        .filter(|operation| !operation.is_read())?;
    let notice = match operation {
        Operation::Notify(notify) => Some(&notify.title),
        _ => None,
    };
    let since = facts.before(policy.cooldown);
    let target = operation.target().or(facts.target.as_ref())?;
    let last = facts
        .past
        .iter()
        .filter(|past| {
            let same = past.solution == facts.solution
                && past.notice.as_ref() == notice
                && past.target == *target;
            past.took_effect && same && facts.is_since(past.asked_at, since)
        })
        .map(|past| past.asked_at)
        .max()?;
    deny(format!(
        "{} was done on {target} at {}, within the cooldown",
        facts.solution,
        rfc3339(last)
    ))
}

/// Denies scaling that goes up and down repeatedly, because the number of replicas is then not the
/// cause. A person who requests the scaling has seen the earlier ones.
pub(super) fn oscillation(facts: &Facts, policy: &Policy) -> Answer {
    let replicas = facts.effect().replicas?;
    let operation = facts.operation.as_ref()?;
    let target = operation.target().or(facts.target.as_ref())?;
    if a_person_wants_it(facts, policy) {
        return None;
    }
    let since = facts.before(HOUR);
    let scaled = facts
        .past
        .iter()
        .filter(|past| past.took_effect && past.target == *target)
        .filter(|past| facts.is_since(past.asked_at, since));
    let mut scaled: Vec<_> = scaled
        .filter_map(|past| Some((past.asked_at, past.replicas?)))
        .collect();
    scaled.sort_unstable();
    let mut steps: Vec<u32> = scaled
        .into_iter()
        .map(|(_, replicas)| replicas)
        .chain([replicas])
        .collect();
    steps.dedup();
    let turns = steps
        .windows(3)
        .filter(|step| (step[0] < step[1]) != (step[1] < step[2]))
        .count();
    if turns <= policy.most_reversals as usize {
        return None;
    }
    deny(format!(
        "the scaling of {target} would turn {turns} times within an hour: {steps:?}"
    ))
}

/// Limits the number of changes within an hour, whatever their purpose. Requests from people count
/// too, but are not denied.
pub(super) fn budget(facts: &Facts, policy: &Policy) -> Answer {
    let target = changed(facts)?.target()?;
    if a_person_wants_it(facts, policy) {
        return None;
    }
    let spent = facts.spent;
    let (of, spent, most) = [
        (target.to_string(), spent.on_target, policy.most_on(target)),
        (
            format!("namespace {:?}", target.namespace),
            spent.in_namespace,
            policy.most_in_namespace,
        ),
        (
            format!("cluster {:?}", target.cluster),
            spent.in_cluster,
            policy.most_in_cluster,
        ),
    ]
    .into_iter()
    .find(|(_, spent, most)| spent >= most)?;
    deny(format!(
        "the budget of {of} is used up: {spent} of {most} changes within an hour"
    ))
}
