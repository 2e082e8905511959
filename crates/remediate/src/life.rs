//! The life of a decision: `proposed → acting → verifying → done`. The state `held` interrupts it
//! while a person is asked; a rollback leads from `verifying` through `acting` to `undone`. The
//! table of all transitions is in [`DecisionState::may_become`].
//!
//! [`advance`] shows the life from top to bottom. This file alone changes the state of a decision:
//! the other files carry out one stage each and return [`Next`].
//!
//! **Invariant:** each state is on record before its first effect, with one exception: `acting` is
//! recorded together with the intent of the first operation. After a crash before that record, the
//! decision is still `proposed`, and the guard is asked again.

use std::ops::ControlFlow;
use std::time::Duration;

use tracing::field::Empty;

use super::admission::{Admission, admit};
use super::decision_run::{DecisionRun, RunError, record_in_span};
use super::effects::may_have_changed;
use super::held::{Waited, wait_for_answer};
use super::next::Next;
use super::plugin_name::plugin_name;
use super::undo::{is_rolling_back, set_undo, state_after_rollback};
use super::verify::Verified;
use super::{action, follow_up, provenance, question, recovery, rollback, verify};
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, GuardVerdict, InvalidTransition, UndoState, UnixMs,
    Verdict,
};
use anomalyzer_history::DecisionEventKind;

/// Time that a step gets to finish after the shutdown. The outcome of a step that takes longer is
/// in doubt, and the next start settles it.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Answer to the question of a held decision.
pub(super) enum Answered {
    /// A person approved the operation.
    Approved,
    /// A person rejected the operation, or the question lapsed.
    Rejected {
        /// Name of the rule that the record shows.
        rule: &'static str,
        at: UnixMs,
        reason: String,
    },
}

/// Runs a decision from its recorded state until it ends or the run is told to stop.
#[tracing::instrument(
    name = "decision", skip_all, fields(decision.id = %id, incident.id = Empty, plugin = Empty)
)]
pub(super) async fn run_decision(run: &DecisionRun, id: &DecisionId) {
    let life = async {
        // The decision is loaded here and not earlier, because by now a previous run of it has
        // recorded everything that it did.
        let mut decision = run.load(id).await?;
        record_in_span(&decision);
        while advance(run, &mut decision).await?.is_continue() {}
        Ok(())
    };
    let last_step = async {
        run.stop.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    let result = tokio::select! {
        result = life => result,
        () = last_step => {
            return tracing::warn!("step exceeds the shutdown grace; the next start settles it");
        }
    };
    match result {
        Ok(()) => {}
        Err(RunError::Cancelled) => tracing::info!("decision paused; the next start resumes it"),
        Err(error) => tracing::error!(%error, "decision cannot continue"),
    }
}

/// Takes a decision one state further. Breaks when the decision has ended.
pub(super) async fn advance(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<ControlFlow<()>, RunError> {
    // The permit to act (see `DecisionRun::permits`) lasts until the next state is on record.
    let _permit;
    let next = match decision.state() {
        // The decision is new, a person just approved it, or a crash came before its first
        // operation.
        DecisionState::Proposed => {
            provenance::await_incident(run, decision).await?;
            _permit = run.permit().await?;
            match admit(run, decision).await? {
                Admission::Denied(reason) => Next::End(DecisionState::Denied, Some(reason)),
                Admission::Admitted(snapshot) => {
                    decision.transition(DecisionState::Acting)?;
                    action::run_action(run, decision, snapshot.as_deref()).await?
                }
            }
        }
        // A crash or a shutdown interrupted the operations, or a person approved the rollback.
        DecisionState::Acting => {
            _permit = run.permit().await?;
            recovery::settle_operations(run, decision).await?;
            if is_rolling_back(decision) {
                rollback::roll_back(run, decision).await?
            } else {
                recovery::after_interruption(decision)
            }
        }
        DecisionState::Held => {
            if decision.question.is_none() {
                // Nobody can answer the decision, so that only the follow-up is left.
                follow_up::follow_up(run, decision).await?;
                return Ok(ControlFlow::Break(()));
            }
            // A person is asked. The answer leads to `proposed`, `acting`, `verifying` or the end.
            let notice = question::notice_id(decision);
            *decision = await_answer(run, &decision.id).await?;
            run.executor.dispatcher.notifier.end_question(&notice);
            if !decision.state().is_terminal() {
                return Ok(ControlFlow::Continue(()));
            }
            // The answer is on record, and the end is not yet.
            Next::End(decision.state(), None)
        }
        // The operations are done, or were only foreseen.
        DecisionState::Verifying => match verify::verify(run, decision).await? {
            Verified::Foreseen => Next::End(DecisionState::Shadowed, None),
            Verified::Accepted => Next::End(DecisionState::Done, None),
            Verified::NotHelpful => {
                begin_rollback(run, decision, "it did not help").await?;
                rollback::roll_back(run, decision).await?
            }
        },
        // The end is on record, but a crash may have come before the follow-up.
        DecisionState::Denied
        | DecisionState::Shadowed
        | DecisionState::Done
        | DecisionState::Undone
        | DecisionState::Failed => {
            follow_up::follow_up(run, decision).await?;
            return Ok(ControlFlow::Break(()));
        }
    };
    enter(run, decision, next).await
}

/// Enters the next state: transition, record, and the effect that belongs to the state.
async fn enter(
    run: &DecisionRun,
    decision: &mut Decision,
    next: Next,
) -> Result<ControlFlow<()>, RunError> {
    match next {
        Next::Hold(verdict, input) => {
            decision.transition(DecisionState::Held)?;
            run.executor
                .record(DecisionEventKind::Held, decision, input)
                .await?;
            question::tell_people(run, decision, &verdict).await?;
            Ok(ControlFlow::Continue(()))
        }
        Next::Verify(summary) => {
            decision.summary = summary.or(decision.summary.take());
            decision.transition(DecisionState::Verifying)?;
            run.record_with_retry(DecisionEventKind::Verifying, decision)
                .await?;
            Ok(ControlFlow::Continue(()))
        }
        Next::End(state, summary) => {
            if decision.state() != state {
                decision.transition(state)?;
            }
            decision.summary = summary.or(decision.summary.take());
            run.record_with_retry(DecisionEventKind::Ended, decision)
                .await?;
            let outcome = decision.verification.as_ref().map(|it| it.outcome.as_str());
            tracing::info!(
                solution = decision.solution,
                state = state.as_str(),
                outcome,
                "decision ended"
            );
            follow_up::follow_up(run, decision).await?;
            Ok(ControlFlow::Break(()))
        }
    }
}

/// Puts the intent to take the decision's operations back on record.
async fn begin_rollback(
    run: &DecisionRun,
    decision: &mut Decision,
    why: &str,
) -> Result<(), RunError> {
    let now = (run.executor.clock)();
    set_undo(decision, UndoState::Undoing, now, why.to_owned());
    decision.transition(DecisionState::Acting)?;
    run.record_with_retry(DecisionEventKind::Undoing, decision)
        .await
}

/// Takes back the replicas that an ended decision added. The decision ends again, or is held.
#[tracing::instrument(
    skip_all,
    fields(
        decision.id = %decision.id,
        incident.id = decision.incident.as_ref().map(tracing::field::display),
        plugin = plugin_name(decision),
    )
)]
pub(super) async fn scale_back(run: &DecisionRun, decision: &mut Decision) -> Result<(), RunError> {
    begin_rollback(run, decision, "the incident is over").await?;
    let next = rollback::roll_back(run, decision).await?;
    enter(run, decision, next).await.map(drop)
}

/// Waits until the question of a held decision is answered or lapses. Returns the decision as it is
/// on record then: without a question.
#[tracing::instrument(name = "approval", skip_all)]
async fn await_answer(run: &DecisionRun, id: &DecisionId) -> Result<Decision, RunError> {
    loop {
        match wait_for_answer(run, id).await? {
            Waited::Answered(decision) => return Ok(*decision),
            Waited::Lapsed { rule, reason } => lapse(run, id, rule, reason).await?,
        }
    }
}

/// Rejects a question that nobody answered, unless somebody just did.
async fn lapse(
    run: &DecisionRun,
    id: &DecisionId,
    rule: &'static str,
    reason: String,
) -> Result<(), RunError> {
    let _answering = run.wait(run.executor.in_flight.answering.lock()).await?;
    let mut decision = run.load(id).await?;
    if decision.question.take().is_some() {
        let at = (run.executor.clock)();
        apply_answer(&mut decision, Answered::Rejected { rule, at, reason })?;
        run.record_with_retry(DecisionEventKind::Answered, &decision)
            .await?;
    }
    Ok(())
}

/// Applies the answer to a held decision. The caller records it.
///
/// After a rejection, earlier operations of the decision are still verified. After a rejected
/// rollback, the operations stay in effect.
pub(super) fn apply_answer(
    decision: &mut Decision,
    answered: Answered,
) -> Result<(), InvalidTransition> {
    let next = match answered {
        Answered::Approved if is_rolling_back(decision) => DecisionState::Acting,
        Answered::Approved => DecisionState::Proposed,
        Answered::Rejected { at, reason, .. } if is_rolling_back(decision) => {
            set_undo(decision, UndoState::Kept, at, reason);
            state_after_rollback(decision)
        }
        Answered::Rejected { rule, reason, .. } => {
            decision.summary = Some(reason.clone());
            decision.guard = Some(GuardVerdict {
                verdict: Verdict::Deny,
                rule: rule.to_owned(),
                reason,
            });
            if may_have_changed(decision) {
                DecisionState::Verifying
            } else {
                DecisionState::Denied
            }
        }
    };
    decision.transition(next)
}
