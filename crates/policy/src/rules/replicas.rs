//! Rules about the number of replicas.

use super::answer::{Answer, deny};
use super::consent::a_person_wants_it;
use crate::{Facts, Policy};

pub(super) fn replica_bounds(facts: &Facts, policy: &Policy) -> Answer {
    let effect = facts.effect();
    let replicas = effect.replicas?;
    if (policy.min_replicas..=policy.max_replicas).contains(&replicas) {
        return None;
    }
    if effect.undeclared {
        return deny(
            "nobody declared what the request does, so it could leave the target without replicas: add `effect` to \
             its grant",
        );
    }
    deny(format!(
        "{replicas} replicas are outside of {} to {}",
        policy.min_replicas, policy.max_replicas
    ))
}

/// Denies scaling down if too few ready replicas could be left, or if it removes too large a share
/// of the replicas at once. The host can't choose the replicas that are removed, so it assumes that
/// ready ones go first. A person who requests it has checked the situation.
pub(super) fn healthy_floor(facts: &Facts, policy: &Policy) -> Answer {
    let replicas = facts.effect().replicas?;
    let now = facts.snapshot.as_ref()?.replicas?;
    let taken = now
        .desired
        .checked_sub(replicas)
        .filter(|taken| *taken > 0)?;
    if a_person_wants_it(facts, policy) {
        return None;
    }
    let left = now.ready.saturating_sub(taken);
    if left < policy.min_ready {
        let (ready, least) = (now.ready, policy.min_ready);
        return deny(format!(
            "{ready} replicas are ready, and {taken} fewer could leave {left}: less than {least}"
        ));
    }
    // A rollback may remove all added replicas at once, as they were added.
    if !facts.takes_back && f64::from(taken) > f64::from(now.desired) * policy.most_share {
        return deny(format!(
            "{taken} of {} replicas at once is more than a share of {}",
            now.desired, policy.most_share
        ));
    }
    None
}
