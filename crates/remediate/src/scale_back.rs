//! What was scaled up for an incident goes back some time after it has cleared.

use super::driver::{DriveError, Driver};
use super::undo::{DAY, inverse, takes_capacity};
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, GuardVerdict, Operation, OperationRecord, OutcomeKind,
    Target, UndoState, Verdict, millis,
};

impl Driver {
    /// Takes back what may go back now. What the guard does not allow now is looked at again.
    /// Returns what a person is asked about.
    pub(super) async fn scale_back_once(&self) -> Result<Vec<DecisionId>, DriveError> {
        let mut held = Vec::new();
        for mut decision in self.history.scaled_since((self.clock)() - DAY).await? {
            let Some(record) = added(&decision) else {
                continue;
            };
            let Some(target) = record.operation.target().cloned() else {
                continue;
            };
            if !self.is_over(&decision, &target).await {
                continue;
            }
            let Some(_entry) = self.desk.enter(&decision.id) else {
                continue;
            };
            if self.may_go_back(&decision, &record).await {
                self.begin_undo(&mut decision, "the incident is over")
                    .await?;
                held.extend((decision.state == DecisionState::Held).then_some(decision.id));
            }
        }
        Ok(held)
    }

    /// Whether its incident has been over for long enough, and the target has no other.
    async fn is_over(&self, decision: &Decision, target: &Target) -> bool {
        let Some(id) = &decision.incident else {
            return false;
        };
        let Some(cleared) = self
            .incident(id)
            .await
            .and_then(|incident| incident.cleared_at)
        else {
            return false;
        };
        let wait = millis(self.verify.scale_back_after);
        (self.clock)() >= cleared.saturating_add(wait)
            && self
                .incidents
                .open()
                .iter()
                .all(|incident| incident.target != *target)
    }

    /// Asks the guard without a record: most of what it may say is not for ever.
    async fn may_go_back(&self, decision: &Decision, record: &OperationRecord) -> bool {
        let Ok(operation) = inverse(record) else {
            return false;
        };
        let Some(snapshot) = self.look(operation.target()).await.0 else {
            return false;
        };
        if !self.is_as_left(record, &snapshot).await.unwrap_or(false) {
            return false;
        }
        let mut facts = self
            .facts(decision, Some(&operation), Some(&snapshot))
            .await;
        facts.take_back();
        if let Some(target) = operation.target() {
            facts.spent = self.spent(target).await;
        }
        let GuardVerdict {
            verdict,
            rule,
            reason,
        } = anomalyzer_policy::judge(&facts, &self.policy);
        // A storm is over some time, and then nobody needs to be asked.
        let now = verdict == Verdict::Allow || verdict == Verdict::Hold && rule != "storm";
        if !now {
            tracing::debug!(decision.id = %decision.id, rule, reason, "not scaled back yet");
        }
        now
    }
}

/// The last scaling up of a decision, if it was not taken back and nothing else was decided about
/// that.
fn added(decision: &Decision) -> Option<OperationRecord> {
    if decision
        .undo
        .as_ref()
        .is_some_and(|undo| undo.state != UndoState::Later)
    {
        return None;
    }
    let done = |record: &&OperationRecord| {
        matches!(record.operation, Operation::Scale { .. })
            && record
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
    };
    let last = decision.operations.iter().rfind(done)?;
    inverse(last)
        .is_ok_and(|inverse| takes_capacity(last, &inverse))
        .then(|| last.clone())
}
