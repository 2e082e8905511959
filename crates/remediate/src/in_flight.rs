//! State that the decisions in flight share: their ids, and the locks of targets and budgets.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, MutexGuard, Notify, OwnedMutexGuard};

use anomalyzer_domain::{DecisionId, Target, UnixMs};
use anomalyzer_egress::notify::AlarmStorms;
use anomalyzer_policy::ClockSkew;

/// Shared state of the decisions in flight. It lives as long as the process, so that a restarted
/// executor does not begin a decision that still runs.
#[derive(Clone, Default)]
pub struct InFlight {
    running: Arc<Mutex<HashSet<DecisionId>>>,
    targets: Arc<Mutex<HashMap<Target, Arc<AsyncMutex<()>>>>>,
    budget: Arc<AsyncMutex<()>>,
    /// Locked while a person's request is looked up and recorded, so that two equal requests are
    /// recorded once.
    pub(super) accepting: Arc<AsyncMutex<()>>,
    /// Locked while a held decision is answered or lapses, so that only one of both happens.
    pub(super) answering: Arc<AsyncMutex<()>>,
    /// Time at which people were told of a storm. A storm is one alarm.
    pub(super) last_storm_notice: Arc<Mutex<Option<UnixMs>>>,
    /// Alarms that join the notice of a storm.
    pub(super) alarm_storms: AlarmStorms,
    /// Deferred decisions about which the analyst was asked again.
    pub(super) retried: Arc<Mutex<HashSet<DecisionId>>>,
    /// Jumps of the wall clock.
    pub(super) clock_skew: Arc<Mutex<ClockSkew>>,
    /// Notified when a decision was answered.
    pub(super) answered: Arc<Notify>,
}

/// Entry of a decision in flight. Dropping it ends the flight.
pub(super) struct Entry {
    running: Arc<Mutex<HashSet<DecisionId>>>,
    id: DecisionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

/// Lock of one target. Of two decisions about the target, the second is judged after the first has
/// acted.
pub(super) struct TargetLock {
    _turn: OwnedMutexGuard<()>,
    budget: Arc<AsyncMutex<()>>,
}

/// Lock of the budgets. It is taken through the lock of a target and released before that, so that
/// two decisions cannot wait for each other.
pub(super) struct BudgetLock<'target> {
    _turn: MutexGuard<'target, ()>,
}

impl TargetLock {
    /// Waits until no other decision counts the spent budgets.
    pub(super) async fn lock_budget(&self) -> BudgetLock<'_> {
        BudgetLock {
            _turn: self.budget.lock().await,
        }
    }
}

impl InFlight {
    /// Returns the number of alarms that joined the notice of a storm, since the start.
    pub fn bundled_alarms(&self) -> u64 {
        self.alarm_storms.bundled()
    }

    /// Begins a decision. Returns `None` if the decision is in flight already.
    pub(super) fn begin(&self, id: &DecisionId) -> Option<Entry> {
        let mut running = self.running.lock();
        running.insert(id.clone()).then(|| Entry {
            running: Arc::clone(&self.running),
            id: id.clone(),
        })
    }

    /// Waits for the lock of a target. The number of decisions in flight bounds the number of
    /// locks.
    pub(super) async fn lock_target(&self, target: &Target) -> TargetLock {
        let turn = {
            let mut targets = self.targets.lock();
            // Remove the locks that no decision holds or waits for.
            targets.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(targets.entry(target.clone()).or_default())
        };
        TargetLock {
            _turn: turn.lock_owned().await,
            budget: Arc::clone(&self.budget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_under_way_once_until_it_ends() {
        let in_flight = InFlight::default();
        let id = DecisionId::derive(&["a"]);
        let entry = in_flight.begin(&id);
        assert!(entry.is_some() && in_flight.begin(&id).is_none());
        drop(entry);
        assert!(in_flight.begin(&id).is_some());
    }

    #[tokio::test]
    async fn each_target_has_one_turn_at_a_time_and_is_forgotten_afterwards() {
        let in_flight = InFlight::default();
        let target = |name: &str| Target::new("shop", "Deployment", name);
        let turn = in_flight.lock_target(&target("web")).await;
        let second = in_flight.clone();
        let waiting = tokio::spawn(async move {
            second
                .lock_target(&Target::new("shop", "Deployment", "web"))
                .await
        });
        for name in 0..100 {
            drop(in_flight.lock_target(&target(&name.to_string())).await);
        }
        assert!(!waiting.is_finished());
        drop(turn);
        drop(waiting.await.unwrap());
        drop(in_flight.lock_target(&target("db")).await);
        assert_eq!(in_flight.targets.lock().len(), 1);
    }

    #[tokio::test]
    async fn one_decision_at_a_time_counts_the_budgets_of_any_target() {
        let in_flight = InFlight::default();
        let web = in_flight
            .lock_target(&Target::new("shop", "Deployment", "web"))
            .await;
        let db = in_flight
            .lock_target(&Target::new("shop", "Deployment", "db"))
            .await;
        let counting = web.lock_budget().await;
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), db.lock_budget());
        assert!(waiting.await.is_err());
        drop(counting);
        drop(db.lock_budget().await);
    }
}
