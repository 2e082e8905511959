//! Approval of held decisions: a person's answer, and the wait for it.

use std::time::Duration;

use tracing::field::Empty;

use super::decision_run::{DecisionRun, RunError, record_in_span};
use super::life::{Answered, apply_answer};
use super::rollback::is_rolling_back;
use super::{Executor, provenance};
use anomalyzer_domain::{
    Answer, Decision, DecisionId, DecisionState, InvalidTransition, Operation, Question, Snapshot,
    UnixMs, rfc3339,
};
use anomalyzer_history::{DecisionEventKind, HistoryError};
use anomalyzer_policy::Approved;

/// Interval at which a held decision checks the time and its incident.
const HELD_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reason why an answer was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The decision does not exist.
    #[error("there is no decision `{0}`")]
    NotFound(DecisionId),
    /// This process does not act.
    #[error("this process does not act: ask the one with the server role")]
    NotHere,
    /// The decision is not held.
    #[error("it is {}: nobody is asked any more", .0.as_str())]
    NotHeld(DecisionState),
    /// The decision asks another question: about another operation, or another state of the target.
    #[error("what is asked now is question {}, since {}", .0.id, rfc3339(.0.asked_at))]
    OtherQuestion(Box<Question>),
    /// The question expired.
    #[error("the question expired at {}", rfc3339(*.0))]
    Expired(UnixMs),
    /// The decision cannot be read or recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The decision cannot be answered in its state: a bug.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
}

/// Returns the approval of `operation` on a target in the state `touched`, if a person gave one.
pub(super) fn approved(
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

impl Executor {
    /// Accepts a person's answer to the question of a held decision. The answer is on record when
    /// this returns.
    ///
    /// # Errors
    /// The decision is not held, asks another question, or the question expired. Or the history
    /// cannot be read or written.
    #[tracing::instrument(
        name = "approval", skip_all, fields(decision.id = %id, incident.id = Empty, plugin = Empty)
    )]
    pub async fn answer(
        &self,
        id: &DecisionId,
        question: &str,
        approved: bool,
        by: &str,
        reason: &str,
    ) -> Result<Decision, AnswerError> {
        let _answering = self.in_flight.answering.lock().await;
        let Some(mut decision) = self.history.decision(id).await? else {
            return Err(AnswerError::NotFound(id.clone()));
        };
        record_in_span(&decision);
        let held = decision.state() == DecisionState::Held;
        let Some(asked) = decision.question.take().filter(|_| held) else {
            return Err(AnswerError::NotHeld(decision.state()));
        };
        if asked.id != question {
            return Err(AnswerError::OtherQuestion(Box::new(asked)));
        }
        let at = (self.clock)();
        if at > asked.expires_at {
            return Err(AnswerError::Expired(asked.expires_at));
        }
        tracing::info!(by, approved, reason, "held decision answered");
        let answered = if approved {
            Answered::Approved
        } else {
            Answered::Rejected {
                rule: "answer",
                at,
                reason: format!("{by} said no: {reason}"),
            }
        };
        apply_answer(&mut decision, answered)?;
        decision.answers.push(Answer {
            question: asked.id,
            approved,
            by: by.to_owned(),
            reason: reason.to_owned(),
            at,
            expires_at: asked.expires_at,
        });
        self.record(DecisionEventKind::Answered, &decision, None)
            .await?;
        self.in_flight.answered.notify_waiters();
        Ok(decision)
    }
}

/// Waits until a held decision is answered, its question expires, or its incident clears. Returns
/// the decision as it is on record then: without a question.
#[tracing::instrument(name = "approval", skip_all)]
pub(super) async fn wait_for_answer(
    run: &DecisionRun,
    id: &DecisionId,
) -> Result<Decision, RunError> {
    let executor = &*run.executor;
    loop {
        // Register for the notification before reading the record, so that no answer is missed.
        let mut answered = std::pin::pin!(executor.in_flight.answered.notified());
        answered.as_mut().enable();
        let decision = run.load(id).await?;
        let Some(question) = &decision.question else {
            return Ok(decision);
        };
        let left = question.expires_at - (executor.clock)();
        if left < 0 {
            let why = format!("nobody said yes until {}", rfc3339(question.expires_at));
            lapse(run, id, "answer", why).await?;
            continue;
        }
        if !is_still_needed(executor, &decision).await {
            let why = "the incident has cleared by itself, before anybody said yes".to_owned();
            lapse(run, id, "incident_cleared", why).await?;
            continue;
        }
        let left = Duration::from_millis(u64::try_from(left).unwrap_or_default().saturating_add(1));
        tokio::select! {
            () = answered => {}
            () = tokio::time::sleep(left.min(HELD_CHECK_INTERVAL)) => {}
            () = run.stop.cancelled() => return Err(RunError::Cancelled),
        }
    }
}

/// Returns false if the decision's incident is over. Taking operations back needs no incident.
async fn is_still_needed(executor: &Executor, decision: &Decision) -> bool {
    match &decision.incident {
        _ if is_rolling_back(decision) => true,
        Some(id) => provenance::incident(executor, id)
            .await
            .is_none_or(|incident| incident.is_open()),
        None => true,
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
