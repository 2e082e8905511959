//! Approval of held decisions: a person's answer.

use tracing::field::Empty;

use super::Executor;
use super::decision_run::record_in_span;
use super::life::{Answered, apply_answer};
use anomalyzer_domain::{
    Answer, Decision, DecisionId, DecisionState, InvalidTransition, Question, UnixMs, rfc3339,
};
use anomalyzer_history::{DecisionEventKind, HistoryError};

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
