//! What was denied in a silence, in maintenance or during somebody's rollout is thought about again
//! when that is over and the incident is not.

use super::driver::{DriveError, Driver};
use anomalyzer_domain::{
    Decision, DecisionState, IncidentEventKind, Operation, OutcomeKind, Provenance,
};
use anomalyzer_policy::NOT_NOW;

const ROLLOUT: &str = "rollout_in_progress";
/// How long a rollout is waited for, in milliseconds: as long as Kubernetes takes to call one
/// stuck. Then people are to hear of it.
const PATIENCE: i64 = 600_000;

/// Whether something is still in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Not {
    Yet,
    AnyMore,
    /// For too long.
    Ever,
}

impl Driver {
    /// Asks the analyst about each of those that nothing is in the way of any more, once.
    pub(super) async fn think_again_once(&self) -> Result<(), DriveError> {
        let mut waiting = self.history.last_of_open_incidents().await?;
        waiting.retain(was_not_now);
        self.desk.thought_about.lock().retain(|id| {
            // What something else followed on is forgotten.
            waiting.iter().any(|decision| decision.id == *id)
        });
        for decision in waiting {
            let answer = self.is_not_now(&decision).await;
            if answer == Not::Yet {
                continue;
            }
            let first = self.desk.thought_about.lock().insert(decision.id.clone());
            if !first {
                continue;
            }
            tracing::info!(decision.id = %decision.id, ?answer, "what was denied for a while is thought about again");
            if answer == Not::AnyMore {
                // As if for the first time: nothing was tried.
                self.ask_again(&decision, IncidentEventKind::Confirmed, vec![])
                    .await?;
            } else {
                self.ask_for_something_else(&decision).await?;
            }
        }
        Ok(())
    }

    async fn is_not_now(&self, decision: &Decision) -> Not {
        let denied = decision.operations.iter().rfind(|record| {
            record
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.kind == OutcomeKind::Denied)
        });
        let operation = denied.map(|record| &record.operation);
        let rollout = rule_of(decision) == ROLLOUT;
        // Of a silence nobody at the target knows: it is not asked again and again.
        let seen = operation.and_then(Operation::target).filter(|_| rollout);
        let snapshot = self.look(seen).await.0;
        let facts = self.facts(decision, operation, snapshot.as_ref()).await;
        // Not to see a rollout is not to see it end.
        let in_the_way =
            anomalyzer_policy::is_not_now(&facts, &self.policy) || rollout && snapshot.is_none();
        if !in_the_way {
            Not::AnyMore
        } else if rollout && facts.now - decision.decided_at > PATIENCE {
            Not::Ever
        } else {
            Not::Yet
        }
    }
}

fn rule_of(decision: &Decision) -> &str {
    decision
        .guard
        .as_ref()
        .map_or("", |guard| guard.rule.as_str())
}

/// Whether our analyst proposed it, and it was denied for a while only.
fn was_not_now(decision: &Decision) -> bool {
    decision.state == DecisionState::Denied
        && NOT_NOW.contains(&rule_of(decision))
        && decision.provenance.source == Provenance::ENGINE
}
