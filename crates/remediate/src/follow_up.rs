//! Follow-up of an ended decision: the analyst is asked again while the incident goes on.

use super::decision_run::{DecisionRun, RunError};
use super::held::TARGET_GONE;
use super::provenance;
use anomalyzer_domain::{
    Decision, DecisionState, Evidence, EvidenceKind, Incident, IncidentEvent, IncidentEventKind,
    Provenance, Topic, VerificationOutcome, solutions,
};
use anomalyzer_policy::TEMPORARY_RULES;

/// Asks the analyst again if the decision did not end its incident. The number of attempts is
/// bounded.
pub(super) async fn follow_up(run: &DecisionRun, decision: &Decision) -> Result<(), RunError> {
    if asks_again(decision) {
        ask_for_alternative(run, decision).await
    } else {
        Ok(())
    }
}

/// Asks the analyst for another solution, with the gathered evidence and the result of this one.
pub(super) async fn ask_for_alternative(
    run: &DecisionRun,
    decision: &Decision,
) -> Result<(), RunError> {
    let gathered = |evidence: &&Evidence| {
        matches!(
            evidence.kind,
            EvidenceKind::Logs
                | EvidenceKind::Events
                | EvidenceKind::Query
                | EvidenceKind::Snapshot
        )
    };
    let mut evidence: Vec<Evidence> = decision.evidence.iter().filter(gathered).cloned().collect();
    let tried = decision
        .verification
        .as_ref()
        .map(|verification| verification.reason.clone());
    if let Some(summary) = tried.or_else(|| decision.summary.clone()) {
        let state = decision.state().as_str();
        let text = format!(
            "{} was tried before ({state}): {summary}",
            decision.solution
        );
        evidence.push(Evidence {
            id: String::new(),
            kind: EvidenceKind::Events,
            text,
        });
    }
    ask_again(run, decision, IncidentEventKind::Gathered, evidence).await
}

/// Asks the analyst again about the decision's incident, if the incident is open.
pub(super) async fn ask_again(
    run: &DecisionRun,
    decision: &Decision,
    kind: IncidentEventKind,
    evidence: Vec<Evidence>,
) -> Result<(), RunError> {
    let executor = &*run.executor;
    let Some(id) = &decision.incident else {
        return Ok(());
    };
    let incident = provenance::incident(executor, id).await;
    let Some(incident) = incident.filter(Incident::is_open) else {
        return Ok(());
    };
    let event = IncidentEvent {
        kind,
        at: (executor.clock)(),
        incident,
        evidence,
        attempt: decision.attempt.saturating_add(1),
        witnesses: vec![],
    };
    let record = anomalyzer_wire::incidents::encode(&event);
    if let Err(error) = executor.bus.publish(Topic::Incidents, record).await {
        tracing::error!(%error, "cannot ask the analyst again");
    }
    Ok(())
}

/// Returns true if the solution only gathers evidence for the analyst.
pub(super) fn gathers(decision: &Decision) -> bool {
    matches!(
        decision.solution.as_str(),
        solutions::CHECK_LOGS | solutions::INVESTIGATE
    )
}

/// Returns true if the analyst is asked again after this decision: it failed, did not help, or only
/// gathered evidence.
///
/// A denied solution of our analyst counts too: the analyst proposes alternatives until people are
/// told at last. Nothing follows a decision that came too late. A decision that is only deferred is
/// retried later: see `deferred`.
pub(super) fn asks_again(decision: &Decision) -> bool {
    match decision.state() {
        DecisionState::Failed | DecisionState::Undone => true,
        DecisionState::Denied => {
            let rule = decision
                .guard
                .as_ref()
                .map_or("", |guard| guard.rule.as_str());
            let too_late = matches!(rule, "expired" | "incident_cleared" | TARGET_GONE);
            let last = matches!(
                decision.solution.as_str(),
                solutions::NO_ACTION | solutions::ALARM
            );
            !too_late
                && !last
                && !TEMPORARY_RULES.contains(&rule)
                && decision.provenance.source == Provenance::ENGINE
        }
        DecisionState::Done => match &decision.verification {
            Some(verification) => verification.outcome != VerificationOutcome::Improved,
            None => gathers(decision),
        },
        _ => false,
    }
}
