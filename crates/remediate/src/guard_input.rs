//! Input of the guard: the state of the world at the moment of asking.

use super::echo::target_facts;
use super::past_operations::past_operations;
use super::{Executor, provenance};
use anomalyzer_domain::{
    Coverage, Decision, GuardVerdict, Incident, Operation, Provenance, Question, Snapshot, Target,
    UnixMs, millis, rfc3339,
};
use anomalyzer_history::{Asked, Input};
use anomalyzer_policy::grants::{declared_effect, in_force};
use anomalyzer_policy::{
    Approved, DiagnosisFacts, Effect, Facts, HOUR, IncidentFacts, RateLimitFacts, Source, Spent,
};

/// Inspects a target within the operation timeout. Returns `None` without a target.
pub(super) async fn inspect(
    executor: &Executor,
    target: Option<&Target>,
) -> Option<Result<Snapshot, String>> {
    let inspected = executor.dispatcher.inspect(target?);
    let timeout = executor.config.operation_timeout;
    Some(match tokio::time::timeout(timeout, inspected).await {
        Ok(inspected) => inspected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    })
}

/// Asks the guard. Returns the verdict, and the input for the record.
pub(super) fn judge(executor: &Executor, mut facts: Facts) -> (GuardVerdict, Input) {
    let verdict = anomalyzer_policy::judge(&facts, &executor.policy);
    if let Some(snapshot) = &mut facts.snapshot {
        // No rule reads these parts, and they are large.
        (snapshot.raw, snapshot.pods, snapshot.events) = (serde_json::Value::Null, vec![], vec![]);
    }
    let asked = Asked {
        facts,
        policy: executor.policy.clone(),
        verdict: verdict.clone(),
        time_zones: anomalyzer_policy::time_zone_database_version().map(str::to_owned),
    };
    (verdict, Input::Guard(Box::new(asked)))
}

/// Gathers the facts for a decision, or for one of its operations. The budgets are not counted: see
/// [`past_operations::spent`](super::past_operations::spent).
pub(super) async fn facts(
    executor: &Executor,
    decision: &Decision,
    operation: Option<&Operation>,
    snapshot: Option<&Snapshot>,
) -> Facts {
    let now = (executor.clock)();
    let known = match &decision.incident {
        None => None,
        Some(id) => provenance::incident(executor, id).await,
    };
    let incident = decision.incident.as_ref().map(|_| match &known {
        Some(incident) => incident_facts(incident, |signal| {
            executor.recent.coverage(signal, &incident.target)
        }),
        None => IncidentFacts::default(),
    });
    let length = executor.policy.cooldown.max(HOUR);
    let since = now.saturating_sub(millis(length));
    let touched = operation
        .and_then(Operation::target)
        .or(decision.target.as_ref());
    let past = match touched {
        Some(touched) => past_operations(executor, decision, touched, length, now).await,
        None => vec![],
    };
    Facts {
        now,
        // The past operations have their true ages.
        jumped: 0,
        // The record counts, not the message: see `provenance`.
        source: match decision.provenance.source.as_str() {
            Provenance::ENGINE => Source::Engine,
            Provenance::API => Source::Person,
            _ => Source::Foreign,
        },
        solution: decision.solution.clone(),
        plugin_mode: executor
            .plugins
            .standing(&decision.solution)
            .map(|(mode, ..)| mode)
            .unwrap_or_default(),
        target: decision.target.clone(),
        expires_at: decision.expires_at,
        incident,
        diagnosis: DiagnosisFacts {
            analyst: decision.analyst.kind,
            confidence: decision.confidence,
            attempt: decision.attempt,
        },
        operation: operation.cloned(),
        effect: None,
        takes_back: false,
        approved: operation.and_then(|operation| approved(decision, operation, snapshot)),
        snapshot: snapshot.cloned(),
        target_facts: target_facts(executor, decision, operation, known.as_ref(), since).await,
        stopped: executor.kill_switch.why(),
        record_mismatch: executor.history.mismatch(),
        silenced: touched.and_then(|target| silenced(executor, target, now)),
        open_incidents: u32::try_from(executor.incidents.count()).unwrap_or(u32::MAX),
        spent: Spent::default(),
        past,
        rate_limit: decision
            .target
            .as_ref()
            .and_then(|target| rate_limit(executor, target)),
    }
    .with_effect(operation.and_then(|operation| declared(executor, decision, operation)))
}

/// Returns the effect that the grants of the decision's action declare for a request.
fn declared(executor: &Executor, decision: &Decision, operation: &Operation) -> Option<Effect> {
    let plugin = decision.solution.replace('_', "-");
    let standing = executor.plugins.standing(&plugin);
    let set_at_run_time = standing.and_then(|(_, grants, _)| grants);
    let grants = in_force(&plugin, set_at_run_time, &executor.grants);
    declared_effect(&grants, operation, decision.target.as_ref())
}

/// Returns the approval of `operation` on a target in the state `touched`, if a person gave one.
fn approved(
    decision: &Decision,
    operation: &Operation,
    touched: Option<&Snapshot>,
) -> Option<Approved> {
    if decision.answers.is_empty() {
        return None;
    }
    let question = Question::id_of(&decision.id, operation, touched);
    let answer = decision
        .answers
        .iter()
        .rfind(|answer| answer.question == question)?;
    answer.approved.then(|| Approved {
        by: answer.by.clone(),
        expires_at: answer.expires_at,
    })
}

/// Returns the reason for the target's silence, if it is silenced.
fn silenced(executor: &Executor, target: &Target, now: UnixMs) -> Option<String> {
    let silence = executor.silences.of(target, now)?;
    Some(format!(
        "{} (by {}, until {})",
        silence.why,
        silence.by,
        rfc3339(silence.until)
    ))
}

/// Returns the configured rate limit of a target.
fn rate_limit(executor: &Executor, target: &Target) -> Option<RateLimitFacts> {
    let configured = executor.rate_limits.get(&target.key())?;
    let patched = configured
        .get("patch")
        .and_then(|patch| patch.get("target"));
    Some(RateLimitFacts {
        patches: patched.and_then(|patched| serde_json::from_value(patched.clone()).ok()),
    })
}

/// Returns the facts of an incident. `heard` returns the last coverage and the newest sample of a
/// signal. The oldest of these samples dates the facts, and a signal without samples leaves them
/// undated: fresh samples of one signal say nothing about another.
fn incident_facts(
    incident: &Incident,
    heard: impl Fn(&str) -> Option<(Coverage, Option<UnixMs>)>,
) -> IncidentFacts {
    let mut coverage = Coverage::default();
    let mut as_of = Some(UnixMs::MAX);
    let mut signals: Vec<&str> = incident
        .findings
        .iter()
        .map(|finding| finding.signal.as_str())
        .collect();
    signals.sort_unstable();
    signals.dedup();
    for signal in &signals {
        let (of_signal, newest) = heard(signal).unwrap_or_default();
        coverage.asked += of_signal.asked;
        coverage.answered += of_signal.answered;
        coverage.failed += of_signal.failed;
        as_of = as_of.zip(newest).map(|(oldest, newest)| oldest.min(newest));
    }
    IncidentFacts::of(incident, coverage, as_of.filter(|_| !signals.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rig;
    use anomalyzer_domain::testing::coverage;

    #[test]
    fn an_incident_is_as_fresh_as_the_signal_that_lags_behind_most() {
        let incident = rig::incident(&["errors", "latency"]);
        let whole = coverage(2, 2);
        let facts = |latency: Option<(Coverage, Option<UnixMs>)>| {
            incident_facts(&incident, |signal| {
                if signal == "latency" {
                    latency
                } else {
                    Some((whole, Some(100)))
                }
            })
        };
        assert_eq!(facts(Some((whole, Some(40)))).as_of, Some(40));
        assert_eq!(facts(Some((whole, Some(140)))).as_of, Some(100));
        assert_eq!(facts(Some((whole, None))).as_of, None);
        assert_eq!(facts(None).as_of, None);
        let partly = facts(Some((coverage(2, 1), Some(40)))).coverage;
        assert_eq!(partly, coverage(4, 3));
    }

    #[test]
    fn an_incident_without_signals_has_no_data() {
        assert_eq!(incident_facts(&rig::incident(&[]), |_| None).as_of, None);
    }
}
