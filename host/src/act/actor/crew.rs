//! The loop: solutions in, decisions recorded, each carried on by a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::driver::{DriveError, Driver};
use super::proposal::proposed;
use super::verify::asks_again;
use crate::bus::again::Pauses;
use crate::bus::{BusError, Subscription, again};
use crate::codec::DecodeError;
use crate::codec::solutions::{Received, decode, disown};
use crate::domain::{Decision, DecisionId, DecisionState, Delivery, Provenance, Solution};
use crate::history::{DecisionEventKind, HistoryError, Input};

/// How long a step that was begun may go on after the shutdown was asked for. What it did then is
/// in doubt, and settled at the next start.
const LAST_STEP: Duration = Duration::from_secs(10);

/// How often is looked for what may be done now and could not be before.
const LOOK: Duration = Duration::from_secs(5);

/// What one run of the acting part consists of.
#[derive(Clone)]
pub(super) struct Crew {
    pub tasks: TaskTracker,
    /// For decisions that act; those that wait for their incident or their effect need none.
    pub places: Arc<Semaphore>,
    pub driver: Driver,
}

/// Why a message is not taken now.
enum Refused {
    /// It can never be, and why.
    Unusable(String),
    /// Not while the history is as it is.
    History(HistoryError),
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<HistoryError> for Refused {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Unreadable { .. } => Self::Unusable(error.to_string()),
            error => Self::History(error),
        }
    }
}

impl Crew {
    /// Takes up what was left unfinished, then what came first, then what comes. Returns when told
    /// to stop, or when solutions come to another server.
    pub(super) async fn work(
        &self,
        subscription: &mut dyn Subscription,
        first: Vec<Delivery>,
    ) -> Result<(), BusError> {
        self.take_up().await?;
        let crew = self.clone();
        self.tasks.spawn(async move { crew.look_back().await });
        self.take_all(subscription, first).await?;
        while subscription.is_active() {
            let deliveries = tokio::select! {
                () = self.driver.stop.cancelled() => return Ok(()),
                deliveries = subscription.next(64, Duration::from_millis(500)) => deliveries,
            };
            let deliveries = match deliveries {
                Ok(deliveries) => deliveries,
                Err(BusError::Closed) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "cannot read solutions; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            self.take_all(subscription, deliveries).await?;
        }
        Ok(())
    }

    /// What was scaled up goes back after its incident, and what was denied for a while is thought
    /// about again. Until told to stop.
    async fn look_back(&self) {
        loop {
            match self.driver.scale_back_once().await {
                Ok(held) => held.into_iter().for_each(|id| self.spawn(id)),
                Err(DriveError::Stopped) => return,
                Err(error) => {
                    tracing::error!(%error, "what was scaled up can't be looked through; trying again")
                }
            }
            match self.driver.think_again_once().await {
                Ok(()) => {}
                Err(DriveError::Stopped) => return,
                Err(error) => {
                    tracing::error!(%error, "what was denied can't be looked through; trying again")
                }
            }
            if self.driver.wait(tokio::time::sleep(LOOK)).await.is_err() {
                return;
            }
        }
    }

    async fn take_all(
        &self,
        subscription: &mut dyn Subscription,
        deliveries: Vec<Delivery>,
    ) -> Result<(), BusError> {
        for delivery in deliveries {
            self.take(subscription, &delivery).await?;
            if let Err(error) = subscription.commit(&delivery).await {
                tracing::warn!(%error, "cannot commit; the solution will be delivered again and recognised");
            }
        }
        Ok(())
    }

    async fn take_up(&self) -> Result<(), BusError> {
        let mut pauses = Pauses::default();
        loop {
            match self.unfinished().await {
                Ok(unfinished) => {
                    for decision in unfinished {
                        tracing::warn!(decision.id = %decision.id, state = decision.state.as_str(), "taken up again");
                        self.spawn(decision.id);
                    }
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read what was left unfinished; trying again")
                }
            }
            if !pauses.wait(&self.driver.stop).await {
                return Err(BusError::Closed);
            }
        }
    }

    /// What is to go on, and what ended without being the end of its incident: whether the analyst
    /// heard of it is not known.
    async fn unfinished(&self) -> Result<Vec<Decision>, HistoryError> {
        let mut unfinished = self.driver.history.unfinished().await?;
        let last = self.driver.history.last_of_open_incidents().await?;
        unfinished.extend(last.into_iter().filter(asks_again));
        Ok(unfinished)
    }

    /// Returns when the message's decision is on record, or the message is set aside. While neither
    /// can be, it is tried again.
    async fn take(
        &self,
        subscription: &mut dyn Subscription,
        delivery: &Delivery,
    ) -> Result<(), BusError> {
        let mut pauses = Pauses::default();
        loop {
            match self.try_take(delivery).await {
                Ok(()) => return Ok(()),
                Err(Refused::Unusable(why)) => {
                    return again::set_aside(subscription, delivery, &why, &self.driver.stop).await;
                }
                Err(Refused::History(error)) => {
                    tracing::error!(
                        offset = delivery.offset, %error,
                        "a solution cannot be recorded, so nothing is done; trying again"
                    );
                }
            }
            if !pauses.wait(&self.driver.stop).await {
                return Err(BusError::Closed);
            }
        }
    }

    async fn try_take(&self, delivery: &Delivery) -> Result<(), Refused> {
        let actor = &self.driver.actor;
        let solution = match decode(delivery, (self.driver.clock)())? {
            Received::Foreign(solution) => solution,
            Received::Claimed(claimed) => {
                // What is on record counts, not what the message says: a person's request, or what
                // was seen before.
                if self.is_on_record(&claimed).await? {
                    return Ok(());
                }
                if actor.may_be_our_analysts(&claimed).await {
                    claimed
                } else {
                    tracing::warn!(
                        offset = delivery.offset,
                        claimed = claimed.provenance.source,
                        decision.id = claimed.id,
                        "a solution says that it is ours and is not: taken as someone else's"
                    );
                    disown(claimed, delivery, (self.driver.clock)())?
                }
            }
        };
        if self.is_on_record(&solution).await? {
            return Ok(());
        }
        let incident = match &solution.incident {
            Some(id) => actor.incident(id).await,
            None => None,
        };
        let decision = proposed(&solution, incident.as_ref());
        let input = solution
            .basis
            .filter(|_| decision.provenance.source == Provenance::ENGINE)
            .map(Input::Diagnosis);
        actor
            .record_with(DecisionEventKind::Proposed, &decision, input)
            .await?;
        self.spawn(decision.id);
        Ok(())
    }

    async fn is_on_record(&self, solution: &Solution) -> Result<bool, HistoryError> {
        let id = DecisionId::from(solution.id.clone());
        let Some(recorded) = self.driver.history.decision(&id).await? else {
            return Ok(false);
        };
        if recorded.state == DecisionState::Proposed {
            self.spawn(id);
        } else {
            tracing::info!(decision.id = %id, "seen before");
        }
        Ok(true)
    }

    /// Carries a decision on from where it is on record, unless that is done already.
    fn spawn(&self, id: DecisionId) {
        let (driver, places) = (self.driver.clone(), Arc::clone(&self.places));
        let Some(entry) = driver.desk.enter(&id) else {
            return;
        };
        self.tasks.spawn(async move {
            let _entry = entry;
            let carried_on = carry_on(&driver, &places, &id);
            let last_step = async {
                driver.stop.cancelled().await;
                tokio::time::sleep(LAST_STEP).await;
            };
            let result = tokio::select! {
                result = carried_on => result,
                () = last_step => {
                    tracing::warn!(decision.id = %id, "a step takes too long; what it did is looked up at the next start");
                    return;
                }
            };
            match result {
                Ok(()) => {}
                Err(DriveError::Stopped) => tracing::info!(decision.id = %id, "to be taken up at the next start"),
                Err(error) => tracing::error!(decision.id = %id, %error, "a decision cannot go on"),
            }
        });
    }
}

async fn carry_on(driver: &Driver, places: &Semaphore, id: &DecisionId) -> Result<(), DriveError> {
    // Read only now: whoever had it before has recorded all that became of it.
    let mut decision = recorded(driver, id).await?;
    loop {
        if decision.state == DecisionState::Proposed {
            driver.meet(&mut decision).await?;
        }
        {
            let Ok(_place) = driver.wait(places.acquire()).await? else {
                return Ok(());
            };
            driver.drive(&mut decision).await?;
        }
        // Waiting for the effect, or for a person, takes no place: in a storm the next decision
        // must not wait with it.
        if decision.state == DecisionState::Verifying {
            driver.verify(&mut decision).await?;
        }
        match decision.state {
            DecisionState::Held if decision.question.is_some() => {
                decision = driver.answered(decision).await?
            }
            _ => return Ok(()),
        }
        if decision.state.is_final() {
            return Ok(());
        }
    }
}

pub(super) async fn recorded(driver: &Driver, id: &DecisionId) -> Result<Decision, DriveError> {
    let mut pauses = Pauses::default();
    loop {
        match driver.history.decision(id).await {
            Ok(Some(decision)) => return Ok(decision),
            Ok(None) => {
                tracing::error!(decision.id = %id, "a decision that was recorded is not there; looking again")
            }
            Err(error) => {
                tracing::error!(decision.id = %id, %error, "a decision cannot be read; trying again")
            }
        }
        if !pauses.wait(&driver.stop).await {
            return Err(DriveError::Stopped);
        }
    }
}
