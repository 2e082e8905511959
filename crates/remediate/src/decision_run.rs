//! Context in which decisions run: the executor, the token that stops it, and the permits to act.
//!
//! A run looks at the token between two steps, never in the middle of a step.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Executor;
use super::plugin_name::plugin_name;
use anomalyzer_bus::retry::Backoff;
use anomalyzer_domain::{Decision, DecisionId, InvalidTransition};
use anomalyzer_history::{DecisionEventKind, HistoryError};

/// Reason why a decision does not continue. Its record stays, and the next start resumes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("it cannot be recorded, so nothing is done: {0}")]
    History(#[from] HistoryError),
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    #[error("it was told to stop")]
    Cancelled,
}

/// Executor, stop token and permits of one run of the executor. Clones share all three.
#[derive(Clone)]
pub(super) struct DecisionRun {
    pub executor: Arc<Executor>,
    pub stop: CancellationToken,
    /// Permits to act. A decision that waits for its incident, its effect or a person needs none.
    pub permits: Arc<Semaphore>,
}

impl DecisionRun {
    /// Returns an error once the run was told to stop. Called between two steps.
    pub(super) fn check_cancelled(&self) -> Result<(), RunError> {
        if self.stop.is_cancelled() {
            Err(RunError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Waits for `event`, or returns an error as soon as the run is told to stop.
    pub(super) async fn wait<T>(&self, event: impl Future<Output = T>) -> Result<T, RunError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(RunError::Cancelled),
            event = event => Ok(event),
        }
    }

    /// Waits for a permit to act.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, RunError> {
        self.wait(Arc::clone(&self.permits).acquire_owned())
            .await?
            // Nobody closes the semaphore. If somebody did, nothing may act any more.
            .map_err(|_closed| RunError::Cancelled)
    }

    /// Reads a decision from the history, and retries until the history answers.
    pub(super) async fn load(&self, id: &DecisionId) -> Result<Decision, RunError> {
        let mut pauses = Backoff::default();
        loop {
            match self.executor.history.decision(id).await {
                Ok(Some(decision)) => return Ok(decision),
                Ok(None) => tracing::error!("the history lacks a recorded decision; retrying"),
                Err(error) => tracing::error!(%error, "cannot read decision; retrying"),
            }
            if !pauses.wait(&self.stop).await {
                return Err(RunError::Cancelled);
            }
        }
    }

    /// Records an event, and retries while the disk is full or slow.
    ///
    /// Events that carry a verdict of the guard go to [`Executor::record`] and are not retried: the
    /// verdict holds for the moment in which it was given.
    pub(super) async fn record_with_retry(
        &self,
        kind: DecisionEventKind,
        decision: &Decision,
    ) -> Result<(), RunError> {
        let mut pauses = Backoff::default();
        loop {
            match self.executor.record(kind, decision, None).await {
                Err(error) if is_temporary(&error) => {
                    tracing::error!(%error, "cannot record decision; retrying");
                    if !pauses.wait(&self.stop).await {
                        return Err(RunError::Cancelled);
                    }
                }
                result => return Ok(result?),
            }
        }
    }
}

/// Records the incident and the plugin of a decision in the current span, which declares both
/// empty.
pub(super) fn record_in_span(decision: &Decision) {
    let span = tracing::Span::current();
    span.record("plugin", plugin_name(decision));
    if let Some(incident) = &decision.incident {
        span.record("incident.id", tracing::field::display(incident));
    }
}

/// Returns true if a later try may succeed, for example because the disk was full.
fn is_temporary(error: &HistoryError) -> bool {
    match error {
        HistoryError::Full { .. }
        | HistoryError::Busy { .. }
        | HistoryError::Unanswered { .. }
        | HistoryError::TooSlow { .. }
        | HistoryError::NoConnection { .. }
        | HistoryError::Store { .. }
        | HistoryError::Older { .. }
        | HistoryError::Open { .. }
        | HistoryError::Log { .. }
        | HistoryError::StandsBy { .. } => true,
        HistoryError::Apart { .. }
        | HistoryError::Closed { .. }
        | HistoryError::Unreadable { .. }
        | HistoryError::BrokenChain { .. } => false,
    }
}
