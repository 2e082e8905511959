//! Takes back what a decision did: as operations of the same decision, guarded and recorded like
//! any other, the last one first.
//!
//! Only what is known to be as it was left: the target must have the version that the operation
//! made, or that a later operation of ours did. What was scaled up stays while the incident goes
//! on, so that no target under load loses capacity: see `scale_back`.

use serde_json::Value;
use tokio::time::Instant;

use super::driver::{DriveError, Driver};
use super::perform::Asker;
use crate::domain::{
    Decision, DecisionState, GuardVerdict, MergePatch, Operation, OperationRecord, OutcomeKind,
    Snapshot, Undo, UndoState, Verdict,
};
use crate::history::{DecisionEventKind, HistoryError, Input};
use crate::operator::merge_patch;

/// How far back is looked for who made a version, in milliseconds.
pub(super) const DAY: i64 = 24 * 3_600_000;

/// What became of one operation that was to be taken back.
enum Tried {
    /// It is over.
    Over(UndoState, String),
    /// A person is asked, as the guard says, about what it was shown.
    Asked(GuardVerdict, Option<Input>),
}

fn kept(why: String) -> Tried {
    Tried::Over(UndoState::Kept, why)
}

impl Driver {
    /// Begins to take back what the decision did.
    pub(super) async fn begin_undo(
        &self,
        decision: &mut Decision,
        why: &str,
    ) -> Result<(), DriveError> {
        say(decision, UndoState::Undoing, (self.clock)(), why.to_owned());
        decision.state = DecisionState::Acting;
        self.record(DecisionEventKind::Undoing, decision).await?;
        self.undo(decision).await
    }

    /// Takes back what is not taken back yet. After a crash or a person's yes as well: what is in
    /// doubt is not tried again. Held, if a person is to be asked.
    pub(super) async fn undo(&self, decision: &mut Decision) -> Result<(), DriveError> {
        let under_load = match &decision.incident {
            Some(id) => self
                .incident(id)
                .await
                .is_some_and(|incident| incident.is_open()),
            None => false,
        };
        let done: Vec<OperationRecord> = decision
            .operations
            .iter()
            .filter(|it| is_change(it))
            .cloned()
            .collect();
        let mut came_to = None;
        for record in done.iter().rev() {
            if let Some(tried) = decision
                .operations
                .iter()
                .find(|it| it.undoes.as_ref() == Some(&record.id))
            {
                came_to = Some(of_record(tried));
            } else {
                match self.take_back(decision, record, under_load).await? {
                    Tried::Over(state, reason) => came_to = Some((state, reason)),
                    Tried::Asked(verdict, asked) => {
                        return self.hold(decision, &verdict, asked).await;
                    }
                }
            }
            // What lies below is not as it was left.
            if !matches!(came_to, Some((UndoState::Undone, _))) {
                break;
            }
        }
        let (state, reason) = came_to.unwrap_or_else(|| {
            (
                UndoState::Kept,
                "nothing that it did can be taken back".to_owned(),
            )
        });
        tracing::info!(decision.id = %decision.id, undo = ?state, reason, "undo");
        say(decision, state, (self.clock)(), reason);
        self.end(decision, ended(decision), None).await
    }

    async fn take_back(
        &self,
        decision: &mut Decision,
        record: &OperationRecord,
        under_load: bool,
    ) -> Result<Tried, DriveError> {
        let operation = match inverse(record) {
            Ok(operation) => operation,
            Err(why) => return Ok(kept(why)),
        };
        if under_load && takes_capacity(record, &operation) {
            let after = crate::domain::duration::format(self.verify.scale_back_after);
            let why = format!(
                "it would take capacity from a target under load: it goes back {after} after the incident"
            );
            return Ok(Tried::Over(UndoState::Later, why));
        }
        let (snapshot, looked) = self.look(operation.target()).await;
        let Some(snapshot) = snapshot else {
            let why = looked.unwrap_or_else(|| "it has no target".to_owned());
            return Ok(kept(format!("the target can't be looked at: {why}")));
        };
        match self.is_as_left(record, &snapshot).await {
            Ok(true) => {}
            Ok(false) => {
                return Ok(kept(
                    "the target was changed by someone else since".to_owned(),
                ));
            }
            Err(error) => {
                return Ok(kept(format!(
                    "who changed the target since can't be told: {error}"
                )));
            }
        }
        let plugin = decision.solution.replace('_', "-");
        let asker = Asker {
            plugin: &plugin,
            needs: &[],
            deadline: Instant::now() + self.config.action_timeout,
            undoes: Some(record.id.clone()),
        };
        let step = format!("undo {}", record.id);
        let (_, verdict, asked) = self.perform(decision, &asker, operation, &step).await?;
        match (
            verdict.verdict,
            decision
                .operations
                .last()
                .filter(|last| last.undoes.is_some()),
        ) {
            (Verdict::Hold, _) => Ok(Tried::Asked(verdict, asked)),
            (Verdict::Allow, Some(tried)) => {
                let (state, reason) = of_record(tried);
                Ok(Tried::Over(state, reason))
            }
            _ => Ok(kept(format!(
                "the guard says no (rule {}): {}",
                verdict.rule, verdict.reason
            ))),
        }
    }

    /// Whether a target is as the operation left it, or as later operations of ours did.
    pub(super) async fn is_as_left(
        &self,
        record: &OperationRecord,
        now: &Snapshot,
    ) -> Result<bool, HistoryError> {
        if record.version.as_ref() == Some(&now.version) {
            return Ok(true);
        }
        let Operation::Scale { target, replicas } = &record.operation else {
            return Ok(false);
        };
        if now.replicas.is_none_or(|now| now.desired != *replicas) {
            return Ok(false);
        }
        let later = self
            .history
            .operations_since(Some(target), record.asked_at.max((self.clock)() - DAY))
            .await?;
        Ok(later.iter().any(|it| {
            is_done(&it.operation) && it.operation.version.as_ref() == Some(&now.version)
        }))
    }
}

pub(super) fn say(decision: &mut Decision, state: UndoState, at: i64, reason: String) {
    decision.undo = Some(Undo { state, at, reason });
}

/// Whether it is about taking back what the decision did.
pub(super) fn is_undoing(decision: &Decision) -> bool {
    decision
        .undo
        .as_ref()
        .is_some_and(|undo| undo.state == UndoState::Undoing)
}

/// As what a decision ends after what it did was to be taken back.
pub(super) fn ended(decision: &Decision) -> DecisionState {
    let undone = decision
        .operations
        .iter()
        .any(|it| it.undoes.is_some() && is_done(it));
    if undone {
        DecisionState::Undone
    } else {
        DecisionState::Done
    }
}

fn is_done(record: &OperationRecord) -> bool {
    record
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.kind == OutcomeKind::Done)
}

/// Whether the action changed something there.
fn is_change(record: &OperationRecord) -> bool {
    let change = !record.operation.is_read() && !matches!(record.operation, Operation::Notify(_));
    change && record.undoes.is_none() && is_done(record)
}

/// What became of an operation that takes something back.
fn of_record(tried: &OperationRecord) -> (UndoState, String) {
    let outcome = tried.outcome.as_ref();
    match outcome.map(|outcome| outcome.kind) {
        Some(OutcomeKind::Done) => {
            let before = tried
                .after
                .as_ref()
                .map(Value::to_string)
                .unwrap_or_default();
            (
                UndoState::Undone,
                format!("put back by {}: {before}", tried.kind),
            )
        }
        kind => {
            let detail = outcome
                .map(|outcome| outcome.detail.to_string())
                .unwrap_or_default();
            let word = if kind == Some(OutcomeKind::Failed) {
                "it did not happen"
            } else {
                "it can't be told"
            };
            (
                UndoState::Failed,
                format!("{} was tried, and {word}: {detail}", tried.kind),
            )
        }
    }
}

/// Replicas, where an operator says how many there were or are.
fn replicas(value: Option<&Value>) -> Option<u32> {
    let value = value?;
    let replicas = value
        .get("replicas")
        .or_else(|| value.pointer("/spec/replicas"))?;
    replicas
        .as_u64()
        .and_then(|replicas| u32::try_from(replicas).ok())
}

/// The operation that puts back what was there before.
pub(super) fn inverse(record: &OperationRecord) -> Result<Operation, String> {
    let unknown = || format!("what was there before {} is not known", record.kind);
    match &record.operation {
        Operation::Scale {
            target,
            replicas: to,
        } => {
            let before = replicas(record.before.as_ref()).ok_or_else(unknown)?;
            if before == *to {
                return Err("it changed nothing".to_owned());
            }
            Ok(Operation::Scale {
                target: target.clone(),
                replicas: before,
            })
        }
        Operation::Patch(MergePatch { target, .. }) | Operation::RollBack { target } => {
            let patch = record
                .before
                .clone()
                .filter(Value::is_object)
                .ok_or_else(unknown)?;
            if record.after.as_ref().is_some_and(|after| {
                merge_patch::between(&patch, after) == Value::Object(Default::default())
            }) {
                return Err("it changed nothing".to_owned());
            }
            Ok(Operation::Patch(MergePatch {
                target: target.clone(),
                patch,
            }))
        }
        other => Err(format!("{} can't be taken back", other.kind())),
    }
}

/// Whether taking that back leaves fewer replicas.
pub(super) fn takes_capacity(record: &OperationRecord, inverse: &Operation) -> bool {
    match (&record.operation, inverse) {
        (
            Operation::Scale { replicas: now, .. },
            Operation::Scale {
                replicas: before, ..
            },
        ) => before < now,
        _ => false,
    }
}
