//! One operation: grants, guard, record, perform, record.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::driver::{DriveError, Driver};
use super::evidence::gather;
use crate::act::grants::{in_force, permit};
use crate::act::notify::About;
use crate::common::failpoint::fail_point;
use crate::domain::{
    Decision, GuardVerdict, Operation, OperationId, OperationRecord, Outcome, OutcomeKind,
    Snapshot, Verdict,
};
use crate::history::{DecisionEventKind, Input};
use crate::operator::{OperatorError, Performed};
use crate::plugin::ActionOutcome;

/// Who asks for operations, and until when.
pub(super) struct Asker<'a> {
    /// The action.
    pub plugin: &'a str,
    /// What it declares to need.
    pub needs: &'a [(String, String)],
    /// When its time is over.
    pub deadline: Instant,
    /// Which operation is taken back. That is the host's own doing: what may be done may be taken
    /// back, so that it needs no grant.
    pub undoes: Option<OperationId>,
}

impl Driver {
    /// Grants, guard, record, perform, record. From counting what is spent of the budgets to the
    /// record of what this spends, nobody else counts. From the guard to the record of the outcome
    /// it is this decision's turn at what is touched, so that the next one is judged by what this
    /// one did.
    pub(super) async fn perform(
        &self,
        decision: &mut Decision,
        asker: &Asker<'_>,
        operation: Operation,
        step: &str,
    ) -> Result<(ActionOutcome, GuardVerdict, Option<Input>), DriveError> {
        let touched = operation.target().or(decision.target.as_ref()).cloned();
        let _turn = match touched.filter(|_| !operation.is_read()) {
            Some(touched) => Some(self.wait(self.desk.turn(&touched)).await?),
            None => None,
        };
        let id = OperationId::derive(&[decision.id.as_str(), step]);
        let (mut basis, mut till, mut on) = (None, None, None);
        let set = self
            .plugins
            .standing(asker.plugin)
            .and_then(|(_, grants, _)| grants);
        let grants = in_force(asker.plugin, set, &self.grants);
        let permitted = match &asker.undoes {
            Some(_) => Ok(()),
            None => permit(
                asker.plugin,
                asker.needs,
                &grants,
                &operation,
                decision.target.as_ref(),
            ),
        };
        let verdict = match permitted {
            Err(reason) => GuardVerdict {
                verdict: Verdict::Deny,
                rule: "grants".into(),
                reason,
            },
            Ok(()) => {
                // Asked again at the moment of acting, with what the world looks like now.
                let target = operation
                    .target()
                    .cloned()
                    .or_else(|| decision.target.clone());
                basis = self.look(target.as_ref()).await.0;
                let mut facts = self.facts(decision, Some(&operation), basis.as_ref()).await;
                if let Some(target) = operation.target().filter(|_| !operation.is_read()) {
                    till = Some(self.wait(self.desk.till()).await?);
                    facts.spent = self.spent(target).await;
                }
                if asker.undoes.is_some() {
                    facts.take_back();
                }
                let (verdict, asked) = self.judge(facts);
                on = Some(asked);
                verdict
            }
        };
        if verdict.verdict == Verdict::Hold {
            self.ask(decision, operation, basis.as_ref());
            return Ok((ActionOutcome::Denied(verdict.reason.clone()), verdict, on));
        }
        let mut record = OperationRecord {
            id: id.clone(),
            kind: operation.kind().to_owned(),
            target: operation.target().cloned(),
            operation: operation.clone(),
            asked_at: (self.clock)(),
            done_at: None,
            guard: Some(verdict.clone()),
            outcome: None,
            before: None,
            after: None,
            version: None,
            undoes: asker.undoes.clone(),
        };
        let refused = match verdict.verdict {
            Verdict::Allow => None,
            Verdict::Shadow => Some((
                OutcomeKind::Foreseen,
                ActionOutcome::Done(foreseen(&operation, basis.as_ref())),
            )),
            Verdict::Deny | Verdict::Hold => Some((
                OutcomeKind::Denied,
                ActionOutcome::Denied(verdict.reason.clone()),
            )),
        };
        if let Some((kind, outcome)) = refused {
            let detail = match &outcome {
                ActionOutcome::Done(foreseen) => foreseen.clone(),
                _ => Value::String(verdict.reason.clone()),
            };
            record.done_at = Some((self.clock)());
            record.outcome = Some(Outcome { kind, detail });
            decision.operations.push(record);
            self.record_with(DecisionEventKind::OperationEnded, decision, on)
                .await?;
            return Ok((outcome, verdict, None));
        }
        decision.operations.push(record);
        // Nothing acts that is not recorded first.
        self.record_with(DecisionEventKind::OperationAsked, decision, on)
            .await?;
        drop(till);
        let left = asker.deadline.saturating_duration_since(Instant::now());
        let patience = self.config.operation_timeout.min(left);
        fail_point("before", operation.kind());
        let result = self
            .attempt(decision, &id, &operation, basis.as_ref(), patience)
            .await;
        fail_point("after", operation.kind());
        let Some(record) = decision.operations.last_mut() else {
            return Ok((ActionOutcome::Waited, verdict, None));
        };
        record.done_at = Some((self.clock)());
        let outcome = put_down(record, result);
        tracing::info!(
            decision.id = %decision.id, operation.id = %id, kind = operation.kind(),
            outcome = ?decision.operations.last().and_then(|record| record.outcome.as_ref()).map(|o| o.kind), "operation"
        );
        gather(decision, &operation, &outcome);
        self.record(DecisionEventKind::OperationEnded, decision)
            .await?;
        Ok((outcome, verdict, None))
    }

    /// Has it done, within that time. What a target was to be changed by and is in doubt is settled
    /// by looking at the target.
    pub(super) async fn attempt(
        &self,
        decision: &Decision,
        id: &OperationId,
        operation: &Operation,
        basis: Option<&Snapshot>,
        patience: Duration,
    ) -> Result<Performed, OperatorError> {
        let about = About {
            operation: id.clone(),
            incident: decision.incident.clone(),
            target: decision.target.clone(),
            severity: severity(decision),
            at: (self.clock)(),
        };
        let asked = self.hands.perform(id, operation, basis, &about);
        let result = match tokio::time::timeout(patience, asked).await {
            Ok(result) => result,
            Err(_) => Err(OperatorError::InDoubt(format!(
                "no answer within {patience:?}"
            ))),
        };
        match result {
            Err(OperatorError::InDoubt(_)) if self.carries_mark(id, operation).await => {
                Ok(marked())
            }
            result => result,
        }
    }

    /// Whether the target of an operation says that it was done. Not if it has none, or can't be
    /// looked at.
    pub(super) async fn carries_mark(&self, id: &OperationId, operation: &Operation) -> bool {
        let target = operation.target().filter(|_| !operation.is_read());
        let snapshot = self.look(target).await.0;
        snapshot
            .and_then(|snapshot| snapshot.last_operation)
            .as_deref()
            == Some(id.as_str())
    }
}

/// What is known of an operation whose mark was found.
pub(super) fn marked() -> Performed {
    Performed {
        result: Value::String("the target carries its mark".into()),
        before: None,
        after: None,
        version: None,
    }
}

/// Writes down what came of it, and how the action is told.
pub(super) fn put_down(
    record: &mut OperationRecord,
    result: Result<Performed, OperatorError>,
) -> ActionOutcome {
    match result {
        Ok(performed) => {
            record.before = performed.before;
            record.after = performed.after;
            record.version = performed.version;
            record.outcome = Some(Outcome {
                kind: OutcomeKind::Done,
                detail: performed.result.clone(),
            });
            ActionOutcome::Done(performed.result)
        }
        Err(error) => {
            let text = error.to_string();
            let (kind, outcome) = match error {
                OperatorError::InDoubt(_) => {
                    (OutcomeKind::InDoubt, ActionOutcome::InDoubt(text.clone()))
                }
                _ => (OutcomeKind::Failed, ActionOutcome::Failed(text.clone())),
            };
            record.outcome = Some(Outcome {
                kind,
                detail: Value::String(text),
            });
            outcome
        }
    }
}

/// For people who sort alarms: far out of what is expected, or nothing known at all, is critical.
fn severity(decision: &Decision) -> String {
    let severe = decision
        .anomaly
        .as_ref()
        .is_none_or(|anomaly| anomaly.severity >= 3.0 || anomaly.observed.is_none());
    if severe { "critical" } else { "warning" }.to_owned()
}

fn foreseen(operation: &Operation, basis: Option<&Snapshot>) -> Value {
    let before = basis
        .and_then(|snapshot| snapshot.replicas)
        .map(|replicas| json!({ "replicas": replicas.desired }));
    match operation {
        Operation::Scale { replicas, .. } => {
            json!({ "before": before, "after": { "replicas": replicas }, "foreseen": true })
        }
        _ => json!({ "before": null, "after": null, "foreseen": true }),
    }
}
