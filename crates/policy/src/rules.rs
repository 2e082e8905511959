//! The built-in rules of the guard, in the order in which they are asked.

use anomalyzer_domain::{Autoscaler, Operation, Snapshot, Verdict, millis, rfc3339, solutions};

use super::custom_rule::decide;
use super::{Facts, Foreign, HOUR, Policy, Source};
use anomalyzer_domain::Mode;

type Answer = Option<(Verdict, String)>;
pub(super) type Rule = fn(&Facts, &Policy) -> Answer;

/// Built-in rules that are asked before the configured rules (`[[guard.policy]]`). Permanent
/// objections come first, then temporary ones.
pub(super) const BOUNDS: &[(&str, Rule)] = &[
    ("no_target", no_target),
    ("rate_limit", rate_limit),
    ("other_target", other_target),
    ("expired", expired),
    ("foreign", foreign),
    ("read", read),
    ("kill_switch", kill_switch),
    ("record", record),
    ("silence", silence),
    ("maintenance", maintenance),
    ("incident_unknown", incident_unknown),
    ("incident_cleared", incident_cleared),
    ("missing_data", missing_data),
    ("unknown_state", unknown_state),
    ("rollout_in_progress", rollout_in_progress),
    ("echo", echo),
    ("reverted", reverted),
    ("autoscaler", autoscaler),
    ("gitops", gitops),
    ("replica_bounds", replica_bounds),
    ("healthy_floor", healthy_floor),
    ("cooldown", cooldown),
    ("oscillation", oscillation),
    ("budget", budget),
];

/// Built-in rules that are asked after the configured rules. They limit what the service may do by
/// itself.
pub(super) const AUTONOMY_LIMITS: &[(&str, Rule)] = &[("storm", storm), ("mode", mode)];

fn deny(reason: impl Into<String>) -> Answer {
    Some((Verdict::Deny, reason.into()))
}

/// Returns true if the operation names a target and changes it, unlike a notice or a request.
fn changes_target(operation: &Operation) -> bool {
    !operation.is_read() && operation.target().is_some()
}

fn changed(facts: &Facts) -> Option<&Operation> {
    facts
        .operation
        .as_ref()
        .filter(|operation| changes_target(operation))
}

/// Returns the operation if it changes its target, or changes the solution's target by a request.
fn affecting(facts: &Facts) -> Option<&Operation> {
    changed(facts).or_else(|| {
        facts
            .operation
            .as_ref()
            .filter(|_| facts.effect().is_some())
    })
}

fn no_target(facts: &Facts, _: &Policy) -> Answer {
    if facts.target.is_some() {
        return None;
    }
    deny("the solution names no target")
}

/// Denies `rate_limit` without a configuration. Only the configuration says what to patch or to
/// call.
fn rate_limit(facts: &Facts, _: &Policy) -> Answer {
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
fn other_target(facts: &Facts, _: &Policy) -> Answer {
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

fn expired(facts: &Facts, _: &Policy) -> Answer {
    if facts.now <= facts.expires_at {
        return None;
    }
    deny(format!(
        "the solution expired at {}",
        rfc3339(facts.expires_at)
    ))
}

fn foreign(facts: &Facts, policy: &Policy) -> Answer {
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

/// Returns true if a person approved exactly this operation and the approval is still valid.
fn approved(facts: &Facts) -> bool {
    facts
        .approved
        .as_ref()
        .is_some_and(|approved| facts.now <= approved.expires_at)
}

/// Returns true if a person wants this operation and has checked the situation. Either a person
/// requested it, or each of its operations is shown to a person and waits for approval.
fn a_person_wants_it(facts: &Facts, policy: &Policy) -> bool {
    match facts.source {
        Source::Person => true,
        Source::Foreign => policy.foreign == Foreign::Hold,
        Source::Engine => false,
    }
}

/// Allows read-only operations at once. They are allowed in a dry run too, and none of the later
/// rules applies to them.
fn read(facts: &Facts, _: &Policy) -> Answer {
    let operation = facts.operation.as_ref()?;
    operation
        .is_read()
        .then(|| (Verdict::Allow, "it only reads".into()))
}

/// Denies almost everything while the kill switch is on, regardless of the requester. Only
/// notices and reads remain allowed.
fn kill_switch(facts: &Facts, _: &Policy) -> Answer {
    let why = facts.stopped.as_ref()?;
    if only_tells_people(facts) {
        None
    } else {
        deny(format!("the kill switch is on: {why}"))
    }
}

/// Denies almost everything while the record differs from its events. The cooldown, the budgets and
/// the memory of what was done come from the record.
fn record(facts: &Facts, _: &Policy) -> Answer {
    let mismatch = facts.record_mismatch.as_ref()?;
    if only_tells_people(facts) {
        None
    } else {
        deny(format!("the record can't be trusted: {mismatch}"))
    }
}

/// Returns true if the operation, or the solution as a whole, changes nothing.
fn only_tells_people(facts: &Facts) -> bool {
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

/// Rules that object only for a while. A decision that they deny is deferred and retried later.
pub const TEMPORARY_RULES: [&str; 4] = ["silence", "maintenance", "rollout_in_progress", "echo"];

/// Returns true if one of the rules in [`TEMPORARY_RULES`] objects, whatever the other rules
/// return.
pub fn is_temporary(facts: &Facts, policy: &Policy) -> bool {
    BOUNDS
        .iter()
        .any(|(name, rule)| TEMPORARY_RULES.contains(name) && rule(facts, policy).is_some())
}

/// Denies operations on a silenced target, unless a person wants them. That person knows of the
/// silence.
fn silence(facts: &Facts, policy: &Policy) -> Answer {
    let why = facts
        .silenced
        .as_ref()
        .filter(|_| facts.operation.is_some() && !a_person_wants_it(facts, policy))?;
    deny(format!("the target is silenced: {why}"))
}

/// Denies operations during planned maintenance, because failures are expected then. A person who
/// requests an operation knows of the maintenance.
fn maintenance(facts: &Facts, policy: &Policy) -> Answer {
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

/// Holds changes while there are many open incidents. Their common cause can't be fixed at each
/// single target.
fn storm(facts: &Facts, policy: &Policy) -> Answer {
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

/// Denies everything but notices if the incident is not known here. The host can't tell then if the
/// incident is still open.
fn incident_unknown(facts: &Facts, policy: &Policy) -> Answer {
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

fn incident_cleared(facts: &Facts, _: &Policy) -> Answer {
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
fn missing_data(facts: &Facts, policy: &Policy) -> Answer {
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

fn unknown_state(facts: &Facts, _: &Policy) -> Answer {
    changed(facts)?;
    if facts.snapshot.is_some() {
        return None;
    }
    match &facts.target_facts.unseen {
        Some(why) => deny(format!("the target can't be looked at: {why}")),
        None => deny("the target can't be looked at"),
    }
}

fn rollout_in_progress(facts: &Facts, _: &Policy) -> Answer {
    affecting(facts)?;
    if !facts.snapshot.as_ref()?.rolling_out {
        return None;
    }
    deny("a rollout of the target is in progress")
}

/// Denies a further replacement of pods while the signals of the incident may still repeat the
/// values of the pods that were replaced before: cAdvisor reports the memory of a dead container
/// for five minutes.
fn echo(facts: &Facts, policy: &Policy) -> Answer {
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
fn reverted(facts: &Facts, policy: &Policy) -> Answer {
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

fn autoscaler(facts: &Facts, policy: &Policy) -> Answer {
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

fn gitops(facts: &Facts, policy: &Policy) -> Answer {
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

fn replica_bounds(facts: &Facts, policy: &Policy) -> Answer {
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
fn healthy_floor(facts: &Facts, policy: &Policy) -> Answer {
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

/// Denies the same solution on the same target within the cooldown. A notice is denied only if its
/// title is the same too, because the cooldown of one alarm must not hide another failure.
fn cooldown(facts: &Facts, policy: &Policy) -> Answer {
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
fn oscillation(facts: &Facts, policy: &Policy) -> Answer {
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
fn budget(facts: &Facts, policy: &Policy) -> Answer {
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

/// Asks the configured rules (`[[guard.policy]]`). Returns the verdict, the rule's name and the
/// reason. Read-only operations never get here, because [`read`] has allowed them. A person's
/// approval of exactly this operation turns a hold into an allow.
pub(super) fn configured(facts: &Facts, policy: &Policy) -> Option<(Verdict, String, String)> {
    facts.operation.as_ref()?;
    let (verdict, rule, reason) = decide(&policy.policy, facts)?;
    match &facts.approved {
        Some(approved) if verdict == Verdict::Hold && facts.now <= approved.expires_at => Some((
            Verdict::Allow,
            rule,
            format!("{} said yes: {reason}", approved.by),
        )),
        _ => Some((verdict, rule, reason)),
    }
}

/// Applies the strictest of all modes that match: shadow, then approve, then auto. Notices need no
/// approval.
fn mode(facts: &Facts, policy: &Policy) -> Answer {
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

fn current_replicas(snapshot: Option<&Snapshot>) -> Option<u32> {
    snapshot
        .and_then(|snapshot| snapshot.replicas)
        .map(|replicas| replicas.desired)
}
