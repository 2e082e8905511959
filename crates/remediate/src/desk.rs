//! What the decisions under way share: which they are, and whose turn it is at a target.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use super::jumps::Jumps;
use anomalyzer_domain::{DecisionId, Target, UnixMs};

/// As long as the process lives, so that a part that is started again does not begin what still
/// goes on.
#[derive(Clone, Default)]
pub struct Desk {
    under_way: Arc<Mutex<HashSet<DecisionId>>>,
    turns: Arc<Mutex<HashMap<Target, Arc<AsyncMutex<()>>>>>,
    till: Arc<AsyncMutex<()>>,
    /// Held while a person's request is looked up and recorded, so that the same one sent twice at
    /// once is recorded once.
    pub(super) accepting: Arc<AsyncMutex<()>>,
    /// Held while a held decision is answered or ends, so that it does one of both.
    pub(super) answering: Arc<AsyncMutex<()>>,
    /// When people were told of a storm: it is one alarm.
    pub(super) storm_told: Arc<Mutex<Option<UnixMs>>>,
    /// What was denied for a while and the analyst was asked about since.
    pub(super) thought_about: Arc<Mutex<HashSet<DecisionId>>>,
    /// How the clock jumped.
    pub(super) jumps: Arc<Mutex<Jumps>>,
    /// Told when a decision was answered.
    pub(super) answered: Arc<Notify>,
}

/// A decision that is under way until this is dropped.
pub(super) struct Entry {
    under_way: Arc<Mutex<HashSet<DecisionId>>>,
    id: DecisionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.id);
    }
}

impl Desk {
    /// Takes a decision on. None when it is under way already.
    pub(super) fn enter(&self, id: &DecisionId) -> Option<Entry> {
        let mut under_way = self.under_way.lock();
        under_way.insert(id.clone()).then(|| Entry {
            under_way: Arc::clone(&self.under_way),
            id: id.clone(),
        })
    }

    /// Waits until nobody else counts what is spent of the budgets.
    pub(super) async fn till(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.till).lock_owned().await
    }

    /// Waits for the turn at a target, which lasts until what is returned is dropped: of two
    /// decisions about one target, the second is judged when the first has acted. Bounded by the
    /// decisions under way.
    pub(super) async fn turn(&self, target: &Target) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            // Those that nobody has or waits for any more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(target.clone()).or_default())
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_under_way_once_until_it_ends() {
        let desk = Desk::default();
        let id = DecisionId::derive(&["a"]);
        let entry = desk.enter(&id);
        assert!(entry.is_some() && desk.enter(&id).is_none());
        drop(entry);
        assert!(desk.enter(&id).is_some());
    }

    #[tokio::test]
    async fn each_target_has_one_turn_at_a_time_and_is_forgotten_afterwards() {
        let desk = Desk::default();
        let target = |name: &str| Target::new("shop", "Deployment", name);
        let turn = desk.turn(&target("web")).await;
        let second = desk.clone();
        let waiting =
            tokio::spawn(
                async move { second.turn(&Target::new("shop", "Deployment", "web")).await },
            );
        for name in 0..100 {
            drop(desk.turn(&target(&name.to_string())).await);
        }
        assert!(!waiting.is_finished());
        drop(turn);
        drop(waiting.await.unwrap());
        drop(desk.turn(&target("db")).await);
        assert_eq!(desk.turns.lock().len(), 1);
    }
}
