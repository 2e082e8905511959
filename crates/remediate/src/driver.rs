//! Carries decisions on until it is told to stop: after each step it looks whether it is, and never
//! in the middle of one.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Actor;
use anomalyzer_bus::again::Pauses;
use anomalyzer_domain::{Decision, DecisionState};
use anomalyzer_history::{DecisionEventKind, HistoryError};

/// Why a decision does not go on. What was recorded stays; it is taken up at the next start.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    #[error("it cannot be recorded, so nothing is done: {0}")]
    History(#[from] HistoryError),
    #[error("it was told to stop")]
    Stopped,
}

/// An actor with the token that stops it.
#[derive(Clone)]
pub(super) struct Driver {
    pub actor: Arc<Actor>,
    pub stop: CancellationToken,
}

impl Deref for Driver {
    type Target = Actor;

    fn deref(&self) -> &Actor {
        &self.actor
    }
}

/// Whether what could not be recorded may be later: the disk is full, or slow.
fn passes(error: &HistoryError) -> bool {
    match error {
        HistoryError::Full { .. }
        | HistoryError::Busy { .. }
        | HistoryError::Unanswered { .. }
        | HistoryError::Store { .. }
        | HistoryError::Open { .. }
        | HistoryError::Log { .. }
        | HistoryError::StandsBy { .. } => true,
        HistoryError::Apart { .. }
        | HistoryError::Closed { .. }
        | HistoryError::Unreadable { .. }
        | HistoryError::BrokenChain { .. } => false,
    }
}

impl Driver {
    /// Between two steps: whether there is to be another one.
    pub(super) fn go_on(&self) -> Result<(), DriveError> {
        if self.stop.is_cancelled() {
            Err(DriveError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Waits for something that may take long, unless told to stop.
    pub(super) async fn wait<T>(&self, event: impl Future<Output = T>) -> Result<T, DriveError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(DriveError::Stopped),
            event = event => Ok(event),
        }
    }

    /// Records, however long the disk is full. Nothing goes on before the record is durable, and
    /// nothing is forgotten meanwhile.
    pub(super) async fn record(
        &self,
        kind: DecisionEventKind,
        decision: &Decision,
    ) -> Result<(), DriveError> {
        let mut pauses = Pauses::default();
        loop {
            match self.actor.record(kind, decision).await {
                Err(error) if passes(&error) => {
                    tracing::error!(decision.id = %decision.id, %error, "a decision cannot be recorded; trying again");
                    if !pauses.wait(&self.stop).await {
                        return Err(DriveError::Stopped);
                    }
                }
                result => return Ok(result?),
            }
        }
    }

    /// Ends it.
    pub(super) async fn end(
        &self,
        decision: &mut Decision,
        state: DecisionState,
        summary: Option<String>,
    ) -> Result<(), DriveError> {
        decision.state = state;
        if summary.is_some() {
            decision.summary = summary;
        }
        self.record(DecisionEventKind::Ended, decision).await?;
        tracing::info!(
            decision.id = %decision.id, solution = decision.solution, state = state.as_str(),
            outcome = decision.verification.as_ref().map(|v| v.outcome.as_str()), "decision ended"
        );
        self.follow_up(decision).await
    }
}
