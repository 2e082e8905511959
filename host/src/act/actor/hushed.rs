//! What was denied in a silence or in maintenance is thought about again when that is over and the incident is not.

use std::sync::PoisonError;

use super::driver::{DriveError, Driver};
use crate::domain::{Decision, DecisionState, IncidentEventKind, OutcomeKind, Provenance};
use crate::guard::{self, HUSHED};

impl Driver {
    /// Asks the analyst about each of those that may be spoken of again, once.
    pub(super) async fn speak_again_once(&self) -> Result<(), DriveError> {
        let mut waiting = self.history.last_of_open_incidents().await?;
        waiting.retain(was_hushed);
        self.desk.spoken_of.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| {
            // What something else followed on is forgotten.
            waiting.iter().any(|decision| decision.id == *id)
        });
        for decision in waiting {
            if self.is_hushed(&decision).await {
                continue;
            }
            let first = self.desk.spoken_of.lock().unwrap_or_else(PoisonError::into_inner).insert(decision.id.clone());
            if first {
                tracing::info!(decision.id = %decision.id, "what was denied for a while is thought about again");
                // As if for the first time: nothing was tried.
                self.ask_again(&decision, IncidentEventKind::Confirmed, vec![]).await?;
            }
        }
        Ok(())
    }

    async fn is_hushed(&self, decision: &Decision) -> bool {
        let denied = decision
            .operations
            .iter()
            .rfind(|record| record.outcome.as_ref().is_some_and(|outcome| outcome.kind == OutcomeKind::Denied));
        let facts = self.facts(decision, denied.map(|record| &record.operation), None).await;
        guard::is_hushed(&facts, &self.policy)
    }
}

/// Whether our analyst proposed it, and it was denied for a while only.
fn was_hushed(decision: &Decision) -> bool {
    let rule = decision.guard.as_ref().map_or("", |guard| guard.rule.as_str());
    decision.state == DecisionState::Denied
        && HUSHED.contains(&rule)
        && decision.provenance.source == Provenance::ENGINE
}
