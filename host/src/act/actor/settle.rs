//! What a crash left behind: operations whose intent is on record and whose outcome is not.
//!
//! What changes a target is settled by looking for its mark there and never done again. Notices and
//! requests leave no mark: they are sent again under the same operation id, by which a receiver
//! that minds it recognises them, so that they are at least once.

use super::drive::may_have_changed;
use super::driver::{DriveError, Driver};
use super::perform::{marked, put_down};
use super::undo::is_undoing;
use crate::domain::{Decision, DecisionState, Operation, OperationRecord, OutcomeKind, Verdict};
use crate::guard;
use crate::history::DecisionEventKind;
use crate::operator::{OperatorError, Performed};

const ENDED: &str = "the process ended in the middle";

impl Driver {
    /// Settles every operation that has no outcome, then carries the decision on as far as that
    /// allows.
    pub(super) async fn settle(&self, decision: &mut Decision) -> Result<(), DriveError> {
        for index in 0..decision.operations.len() {
            let Some(record) = decision
                .operations
                .get(index)
                .filter(|record| record.outcome.is_none())
                .cloned()
            else {
                continue;
            };
            self.go_on()?;
            let touched = record
                .operation
                .target()
                .or(decision.target.as_ref())
                .cloned();
            let _turn = match touched.filter(|_| !record.operation.is_read()) {
                Some(touched) => Some(self.wait(self.desk.turn(&touched)).await?),
                None => None,
            };
            let result = self.settled(decision, &record).await;
            if let Some(record) = decision.operations.get_mut(index) {
                put_down(record, result);
                record.done_at = Some((self.clock)());
            }
            self.record(DecisionEventKind::OperationEnded, decision)
                .await?;
        }
        if is_undoing(decision) {
            return self.undo(decision).await;
        }
        if may_have_changed(decision) {
            decision.summary = Some(format!(
                "{ENDED}; what was in doubt is not repeated, its effect is looked for"
            ));
            decision.state = DecisionState::Verifying;
            return self.record(DecisionEventKind::Verifying, decision).await;
        }
        if told(decision) {
            return self
                .end(
                    decision,
                    DecisionState::Done,
                    Some(format!("{ENDED}; people were told")),
                )
                .await;
        }
        self.end(
            decision,
            DecisionState::Failed,
            Some(format!("{ENDED}, and nothing was changed")),
        )
        .await
    }

    async fn settled(
        &self,
        decision: &Decision,
        record: &OperationRecord,
    ) -> Result<Performed, OperatorError> {
        let operation = &record.operation;
        if operation.is_read() {
            return Err(OperatorError::Unavailable(format!(
                "{ENDED}, before the answer"
            )));
        }
        if !matches!(operation, Operation::Notify(_) | Operation::Http(_)) {
            return match self.carries_mark(&record.id, operation).await {
                true => Ok(marked()),
                false => Err(OperatorError::InDoubt(format!(
                    "{ENDED}, and the target does not carry its mark"
                ))),
            };
        }
        let mut facts = self.facts(decision, Some(operation), None).await;
        if record.asked_at <= decision.expires_at {
            // Begun in time, it may be finished.
            facts.expires_at = facts.expires_at.max(facts.now);
        }
        let verdict = guard::judge(&facts, &self.policy);
        if verdict.verdict != Verdict::Allow {
            return Err(OperatorError::InDoubt(format!(
                "{ENDED}, and it is not sent again: {}",
                verdict.reason
            )));
        }
        self.attempt(
            decision,
            &record.id,
            operation,
            None,
            self.config.operation_timeout,
        )
        .await
    }
}

/// Whether all that the decision did was to tell people, and that was done.
fn told(decision: &Decision) -> bool {
    let mut effects = decision
        .operations
        .iter()
        .filter(|record| !record.operation.is_read())
        .peekable();
    let done = |record: &OperationRecord| {
        matches!(record.operation, Operation::Notify(_))
            && record
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
    };
    effects.peek().is_some() && effects.all(done)
}
