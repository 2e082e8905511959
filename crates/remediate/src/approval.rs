//! What is held for a person: the question, their answer, and what follows.

use std::time::Duration;

use super::Actor;
use super::crew::recorded;
use super::drive::may_have_changed;
use super::driver::{DriveError, Driver};
use super::undo::{ended, is_undoing, say};
use anomalyzer_domain::{
    Answer, Decision, DecisionId, DecisionState, GuardVerdict, Notice, Operation, OperationId,
    Question, Snapshot, UndoState, UnixMs, Verdict, millis, rfc3339,
};
use anomalyzer_egress::notify::About;
use anomalyzer_history::{DecisionEventKind, HistoryError, Input};
use anomalyzer_policy::Approved;

/// How often is looked at the clock and at the incident of what is held, also when nobody says
/// anything.
const LOOK: Duration = Duration::from_secs(5);
/// How long the channels may take to tell people that they are asked.
const TELL: Duration = Duration::from_secs(30);

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// No such decision.
    #[error("there is no decision `{0}`")]
    NotFound(DecisionId),
    /// This process does not act.
    #[error("this process does not act: ask the one with the server role")]
    NotHere,
    /// It waits for nobody.
    #[error("it is {}: nobody is asked any more", .0.as_str())]
    NotHeld(DecisionState),
    /// What is asked now is something else: another operation, or another state of the target.
    #[error("what is asked now is question {}, since {}", .0.id, rfc3339(.0.asked_at))]
    OtherQuestion(Box<Question>),
    /// Too late.
    #[error("the question expired at {}", rfc3339(*.0))]
    Expired(UnixMs),
    /// It cannot be read or recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// The yes of a person to this operation on what it touches as it is now, if there is one.
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

impl Actor {
    /// Takes a person's answer to the question that a held decision asks. On record when this
    /// returns.
    ///
    /// # Errors
    /// The decision is not held, asks something else, or its time is over; or nothing can be
    /// recorded.
    pub async fn answer(
        &self,
        id: &DecisionId,
        question: &str,
        approved: bool,
        by: &str,
        reason: &str,
    ) -> Result<Decision, AnswerError> {
        let _answering = self.desk.answering.lock().await;
        let Some(mut decision) = self.history.decision(id).await? else {
            return Err(AnswerError::NotFound(id.clone()));
        };
        let Some(asked) = decision
            .question
            .take()
            .filter(|_| decision.state == DecisionState::Held)
        else {
            return Err(AnswerError::NotHeld(decision.state));
        };
        if asked.id != question {
            return Err(AnswerError::OtherQuestion(Box::new(asked)));
        }
        let at = (self.clock)();
        if at > asked.expires_at {
            return Err(AnswerError::Expired(asked.expires_at));
        }
        let (by, reason) = (by.to_owned(), reason.to_owned());
        tracing::info!(decision.id = %id, by, approved, reason, "a held decision was answered");
        if !approved {
            no(
                &mut decision,
                "answer",
                at,
                format!("{by} said no: {reason}"),
            );
        } else if is_undoing(&decision) {
            decision.state = DecisionState::Acting;
        } else {
            decision.state = DecisionState::Proposed;
        }
        decision.answers.push(Answer {
            question: asked.id,
            approved,
            by,
            reason,
            at,
            expires_at: asked.expires_at,
        });
        self.record(DecisionEventKind::Answered, &decision).await?;
        self.desk.answered.notify_waiters();
        Ok(decision)
    }
}

impl Driver {
    /// The decision asks a person about this operation.
    pub(super) fn ask(
        &self,
        decision: &mut Decision,
        operation: Operation,
        touched: Option<&Snapshot>,
    ) {
        let asked_at = (self.clock)();
        let within = millis(self.policy.approve_within);
        let expires_at = asked_at.saturating_add(within);
        decision.question = Some(Question {
            id: Question::id_of(&decision.id, &operation, touched),
            operation,
            version: touched.map(|snapshot| snapshot.version.clone()),
            asked_at,
            expires_at,
        });
        // Whoever says yes in time says that it is not too late.
        decision.expires_at = decision.expires_at.max(expires_at);
    }

    /// Holds it, and tells people. Who could not be told may still look: the record counts.
    pub(super) async fn hold(
        &self,
        decision: &mut Decision,
        verdict: &GuardVerdict,
        asked: Option<Input>,
    ) -> Result<(), DriveError> {
        decision.state = DecisionState::Held;
        self.record_with(DecisionEventKind::Held, decision, asked)
            .await?;
        let Some(question) = &decision.question else {
            return Ok(());
        };
        tracing::warn!(decision.id = %decision.id, question.id, "held: a person is asked");
        let storm = verdict.rule == "storm";
        if storm && !self.first_of_a_storm() {
            return Ok(());
        }
        let target = decision
            .target
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let title = if storm {
            verdict.reason.clone()
        } else {
            format!("{} of {target} waits for a yes", question.operation.kind())
        };
        let why = match &decision.undo {
            Some(undo) if undo.state == UndoState::Undoing => {
                format!("{} is to be taken back: {}", decision.solution, undo.reason)
            }
            _ => decision.explanation.clone(),
        };
        let notice = Notice {
            channel: "default".to_owned(),
            title,
            text: format!(
                "{}\nWhy: {why}\nUntil {}: anomalyzer decisions approve {} (or reject)",
                serde_json::to_string(&question.operation).unwrap_or_default(),
                rfc3339(question.expires_at),
                decision.id
            ),
        };
        let about = About {
            operation: OperationId::derive(&[decision.id.as_str(), &question.id]),
            incident: decision.incident.clone(),
            target: decision.target.clone(),
            severity: "warning".to_owned(),
            at: (self.clock)(),
        };
        let told = tokio::time::timeout(TELL, self.hands.notifier.notify(&notice, &about));
        match self.wait(told).await? {
            Ok(Ok(told)) if told.failed.is_empty() => {}
            Ok(Ok(told)) => {
                tracing::warn!(decision.id = %decision.id, failed = ?told.failed, "not all were told")
            }
            Ok(Err(error)) => {
                tracing::warn!(decision.id = %decision.id, %error, "nobody could be told")
            }
            Err(_) => {
                tracing::warn!(decision.id = %decision.id, "the channels took longer than {TELL:?}")
            }
        }
        Ok(())
    }

    /// A storm is one alarm, not one for each decision that it holds; one that goes on is told
    /// again.
    fn first_of_a_storm(&self) -> bool {
        let now = (self.clock)();
        let within = millis(self.policy.approve_within);
        let mut told = self.desk.storm_told.lock();
        let first = told.is_none_or(|told| now.saturating_sub(told) >= within);
        if first {
            *told = Some(now);
        }
        first
    }

    /// Waits for the answer, and returns the decision as it is then: approved, or ended.
    pub(super) async fn answered(&self, decision: Decision) -> Result<Decision, DriveError> {
        loop {
            // Before it is looked, so that no answer is missed.
            let mut told = std::pin::pin!(self.desk.answered.notified());
            told.as_mut().enable();
            let mut current = recorded(self, &decision.id).await?;
            if let Some(question) = &current.question {
                let left = question.expires_at - (self.clock)();
                if left < 0 {
                    let why = format!("nobody said yes until {}", rfc3339(question.expires_at));
                    self.give_up(&decision.id, "answer", why).await?;
                    continue;
                }
                if !self.goes_on(&current).await {
                    let why =
                        "the incident has cleared by itself, before anybody said yes".to_owned();
                    self.give_up(&decision.id, "incident_cleared", why).await?;
                    continue;
                }
                let left = Duration::from_millis(
                    u64::try_from(left).unwrap_or_default().saturating_add(1),
                )
                .min(LOOK);
                tokio::select! {
                    () = told => {}
                    () = tokio::time::sleep(left) => {}
                    () = self.stop.cancelled() => return Err(DriveError::Stopped),
                }
                continue;
            }
            if let over @ (DecisionState::Denied | DecisionState::Done | DecisionState::Undone) =
                current.state
            {
                self.end(&mut current, over, None).await?;
            }
            return Ok(current);
        }
    }

    async fn goes_on(&self, decision: &Decision) -> bool {
        match &decision.incident {
            _ if is_undoing(decision) => true,
            Some(id) => self
                .incident(id)
                .await
                .is_none_or(|incident| incident.is_open()),
            None => true,
        }
    }

    /// Ends what nobody answered, unless somebody just did.
    async fn give_up(&self, id: &DecisionId, rule: &str, why: String) -> Result<(), DriveError> {
        let _answering = self.wait(self.desk.answering.lock()).await?;
        let mut decision = recorded(self, id).await?;
        if decision.question.take().is_some() {
            no(&mut decision, rule, (self.clock)(), why);
            self.record(DecisionEventKind::Answered, &decision).await?;
        }
        Ok(())
    }
}

/// What was changed before is looked after all the same; what was not to be taken back stays.
fn no(decision: &mut Decision, rule: &str, at: UnixMs, reason: String) {
    if is_undoing(decision) {
        say(decision, UndoState::Kept, at, reason);
        decision.state = ended(decision);
        return;
    }
    decision.state = if may_have_changed(decision) {
        DecisionState::Verifying
    } else {
        DecisionState::Denied
    };
    decision.summary = Some(reason.clone());
    decision.guard = Some(GuardVerdict {
        verdict: Verdict::Deny,
        rule: rule.to_owned(),
        reason,
    });
}
