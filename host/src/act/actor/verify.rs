//! Did it help, and what then?

use std::time::Duration;

use super::driver::{DriveError, Driver};
use crate::codec;
use crate::domain::{
    Control, Decision, DecisionState, Evidence, EvidenceKind, Incident, IncidentEvent,
    IncidentEventKind, Provenance, Topic, UnixMs, Verdict, Verification, VerificationOutcome,
    millis, solutions,
};
use crate::guard::NOT_NOW;
use crate::history::DecisionEventKind;
use crate::verify::{Claim, judge};

impl Driver {
    /// Waits until the effect can show, gathers fresh samples, judges: what was wrong when it was
    /// decided is compared, whatever became of the incident since.
    pub(super) async fn verify(&self, decision: &mut Decision) -> Result<(), DriveError> {
        let acted_at = decision
            .operations
            .iter()
            .filter_map(|record| record.done_at)
            .max()
            .unwrap_or(decision.decided_at);
        let from = acted_at + millis(self.verify.settle);
        let until = from + millis(self.verify.observe);
        let left = u64::try_from(until - (self.clock)()).unwrap_or(0);
        self.wait(tokio::time::sleep(Duration::from_millis(left)))
            .await?;
        let claims: Vec<Claim> = decision
            .target
            .iter()
            .flat_map(|target| {
                decision
                    .findings
                    .iter()
                    .map(move |finding| (target, finding))
            })
            .filter(|(_, finding)| finding.expected.is_some())
            .map(|(target, finding)| Claim {
                finding: finding.clone(),
                fresh: self.recent.samples(&finding.signal, target, from, until),
                rounds: self.recent.rounds(&finding.signal, target, from, until),
            })
            .collect();
        let mut verification = judge(&claims, self.verify.min_samples, (self.clock)());
        if decision.findings.is_empty() {
            verification.reason = match &decision.incident {
                None => {
                    "it was not about an incident, so that there is nothing to compare with".into()
                }
                Some(id) => {
                    format!(
                        "the incident {id} was not known here when it was decided: nothing to compare with"
                    )
                }
            };
        }
        self.compare_with_others(decision, &mut verification, acted_at)
            .await;
        let outcome = verification.outcome;
        decision.verification = Some(verification);
        self.record(DecisionEventKind::Verified, decision).await?;
        if is_shadowed(decision) {
            return self.end(decision, DecisionState::Shadowed, None).await;
        }
        if self.verify.undo
            && matches!(
                outcome,
                VerificationOutcome::NotImproved | VerificationOutcome::Worse
            )
        {
            return self.begin_undo(decision, "it did not help").await;
        }
        self.end(decision, DecisionState::Done, None).await
    }

    /// Whether those that were left alone got better too.
    async fn compare_with_others(
        &self,
        decision: &Decision,
        verification: &mut Verification,
        acted_at: UnixMs,
    ) {
        if is_shadowed(decision) {
            verification.reason = format!("it was left alone: {}", verification.reason);
        }
        let (Some(target), Some(_)) = (&decision.target, &decision.incident) else {
            return;
        };
        let control = match self.history.left_alone(acted_at, target).await {
            Ok(control) if control.left_alone > 0 => control,
            Ok(_) => return,
            Err(error) => {
                return tracing::warn!(decision.id = %decision.id, %error, "there is nothing to compare with");
            }
        };
        let Control { left_alone, better } = control;
        let all = verification.outcome == VerificationOutcome::Improved && better == left_alone;
        let doubt = if all {
            ": it may have helped itself"
        } else {
            ""
        };
        verification.reason.push_str(&format!(
            "; of {left_alone} other targets that were left alone meanwhile {better} got better too{doubt}"
        ));
        verification.control = Some(control);
    }

    /// Asks the analyst once more if the decision was not the end of its incident, with what was
    /// gathered and tried. Bounded by the number of attempts.
    pub(super) async fn follow_up(&self, decision: &Decision) -> Result<(), DriveError> {
        if asks_again(decision) {
            self.ask_for_something_else(decision).await
        } else {
            Ok(())
        }
    }

    /// Asks the analyst once more, with what was gathered and tried.
    pub(super) async fn ask_for_something_else(
        &self,
        decision: &Decision,
    ) -> Result<(), DriveError> {
        let gathered = |evidence: &&Evidence| {
            matches!(
                evidence.kind,
                EvidenceKind::Logs
                    | EvidenceKind::Events
                    | EvidenceKind::Query
                    | EvidenceKind::Snapshot
            )
        };
        let mut evidence: Vec<Evidence> =
            decision.evidence.iter().filter(gathered).cloned().collect();
        let tried = decision
            .verification
            .as_ref()
            .map(|verification| verification.reason.clone());
        if let Some(summary) = tried.or_else(|| decision.summary.clone()) {
            let state = decision.state.as_str();
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
        self.ask_again(decision, IncidentEventKind::Gathered, evidence)
            .await
    }

    /// Asks the analyst once more, if the incident goes on.
    pub(super) async fn ask_again(
        &self,
        decision: &Decision,
        kind: IncidentEventKind,
        evidence: Vec<Evidence>,
    ) -> Result<(), DriveError> {
        let Some(id) = &decision.incident else {
            return Ok(());
        };
        let Some(incident) = self.incident(id).await.filter(Incident::is_open) else {
            return Ok(());
        };
        let event = IncidentEvent {
            kind,
            at: (self.clock)(),
            incident,
            evidence,
            attempt: decision.attempt.saturating_add(1),
            witnesses: vec![],
        };
        if let Err(error) = self
            .bus
            .publish(Topic::Incidents, codec::incidents::encode(&event))
            .await
        {
            tracing::error!(decision.id = %decision.id, %error, "the analyst could not be asked once more");
        }
        Ok(())
    }
}

/// Whether what it wanted was foreseen only.
pub(super) fn is_shadowed(decision: &Decision) -> bool {
    decision
        .guard
        .as_ref()
        .is_some_and(|guard| guard.verdict == Verdict::Shadow)
}

/// Whether it only gathered, for the analyst to think again.
pub(super) fn gathers(decision: &Decision) -> bool {
    matches!(
        decision.solution.as_str(),
        solutions::CHECK_LOGS | solutions::INVESTIGATE
    )
}

/// Whether an ended decision leaves its incident to be thought about again: it failed, did not
/// help, or only gathered. What our analyst proposed and may not be done is no end either: the
/// analyst is asked for something else, until at last people are told. Nothing follows on what is
/// too late, and nothing at once on what is to be left alone for a while: see `not_now`.
pub(super) fn asks_again(decision: &Decision) -> bool {
    match decision.state {
        DecisionState::Failed | DecisionState::Undone => true,
        DecisionState::Denied => {
            let rule = decision
                .guard
                .as_ref()
                .map_or("", |guard| guard.rule.as_str());
            let too_late = matches!(rule, "expired" | "incident_cleared");
            let last = matches!(
                decision.solution.as_str(),
                solutions::NO_ACTION | solutions::ALARM
            );
            !too_late
                && !last
                && !NOT_NOW.contains(&rule)
                && decision.provenance.source == Provenance::ENGINE
        }
        DecisionState::Done => match &decision.verification {
            Some(verification) => verification.outcome != VerificationOutcome::Improved,
            None => gathers(decision),
        },
        _ => false,
    }
}
