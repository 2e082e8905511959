//! Consumes the solutions topic: each solution is recorded as a decision, and each decision runs in
//! a task of its own.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::decision_run::{DecisionRun, RunError};
use super::follow_up::asks_again;
use super::life::run_decision;
use super::off_record::Unrecorded;
use super::proposal::proposed;
use super::{alerts, deferred, provenance, scale_back};
use anomalyzer_bus::retry::Backoff;
use anomalyzer_bus::{Batch, BusError, Handler, OnReadError, Subscription, consume, retry};
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, Delivery, Provenance, Solution, Topic,
};
use anomalyzer_history::{DecisionEventKind, HistoryError, Input};
use anomalyzer_wire::DecodeError;
use anomalyzer_wire::solutions::{Received, decode, disown};

/// Interval between two looks at deferred decisions and at added replicas.
const RESCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of solutions of one read.
pub(super) const MAX_BATCH: usize = 64;
/// Bounds of a read while this server acts.
const BATCH: Batch = Batch {
    topic: Topic::Solutions,
    max: MAX_BATCH,
    wait: Duration::from_millis(500),
    on_error: OnReadError::Retry,
};

/// Consumer of one run of the executor, and the tasks of its decisions.
#[derive(Clone)]
pub(super) struct SolutionConsumer {
    pub tasks: TaskTracker,
    pub run: DecisionRun,
}

/// Reason why a message is not accepted now.
enum Refused {
    /// The message will never be usable.
    Unusable(String),
    /// The history cannot be read or written at present.
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

impl SolutionConsumer {
    /// Resumes unfinished decisions, then accepts `first`, then every delivery that follows.
    /// Returns when the run is told to stop, or when solutions are delivered to another server.
    pub(super) async fn work(
        &mut self,
        subscription: &mut dyn Subscription,
        first: Vec<Delivery>,
    ) -> Result<(), BusError> {
        self.resume_unfinished().await?;
        let consumer = self.clone();
        self.tasks.spawn(async move { consumer.rescan().await });
        let run = self.run.clone();
        self.tasks
            .spawn(async move { alerts::follow_alerts(&run).await });
        self.accept_all(subscription, first).await?;
        let stop = self.run.stop.clone();
        consume(subscription, BATCH, &stop, self).await.map(drop)
    }

    /// Takes added replicas back after their incident, and retries deferred decisions, at intervals
    /// until the run is told to stop.
    async fn rescan(&self) {
        loop {
            match scale_back::scale_back_once(&self.run).await {
                Ok(held) => held.into_iter().for_each(|id| self.spawn(id)),
                Err(RunError::Cancelled) => return,
                Err(error) => tracing::error!(%error, "cannot scale back; retrying"),
            }
            match deferred::retry_deferred_once(&self.run).await {
                Ok(()) => {}
                Err(RunError::Cancelled) => return,
                Err(error) => tracing::error!(%error, "cannot retry deferred decisions; retrying"),
            }
            let pause = self.run.wait(tokio::time::sleep(RESCAN_INTERVAL));
            if pause.await.is_err() {
                return;
            }
        }
    }

    async fn accept_all(
        &self,
        subscription: &mut dyn Subscription,
        deliveries: Vec<Delivery>,
    ) -> Result<(), BusError> {
        for delivery in deliveries {
            self.accept(subscription, &delivery).await?;
            if let Err(error) = subscription.commit(&delivery).await {
                tracing::warn!(%error, "cannot commit; the solution will be delivered again and recognised");
            }
        }
        Ok(())
    }

    async fn resume_unfinished(&self) -> Result<(), BusError> {
        let mut pauses = Backoff::default();
        loop {
            match self.unfinished().await {
                Ok(unfinished) => {
                    for decision in unfinished {
                        let state = decision.state().as_str();
                        tracing::warn!(decision.id = %decision.id, state, "resuming decision");
                        self.spawn(decision.id);
                    }
                    return Ok(());
                }
                Err(error) => tracing::error!(%error, "cannot read unfinished decisions; retrying"),
            }
            if !pauses.wait(&self.run.stop).await {
                return Err(BusError::Closed);
            }
        }
    }

    /// Returns the decisions that continue, and ended decisions whose incident goes on: a crash may
    /// have come before the analyst was asked again.
    async fn unfinished(&self) -> Result<Vec<Decision>, HistoryError> {
        let history = &self.run.executor.history;
        let mut unfinished = history.unfinished().await?;
        let last = history.last_of_open_incidents().await?;
        unfinished.extend(last.into_iter().filter(asks_again));
        Ok(unfinished)
    }

    /// Accepts a message: returns when its decision is on record, or the message is set aside.
    /// Retries while neither is possible.
    async fn accept(
        &self,
        subscription: &mut dyn Subscription,
        delivery: &Delivery,
    ) -> Result<(), BusError> {
        let mut pauses = Backoff::default();
        loop {
            match self.try_accept(delivery).await {
                Ok(()) => return Ok(()),
                Err(Refused::Unusable(why)) => {
                    return retry::set_aside(subscription, delivery, &why, &self.run.stop).await;
                }
                Err(Refused::History(error)) => {
                    self.tell_people(delivery, &error);
                    tracing::error!(
                        offset = delivery.offset, %error,
                        "cannot record solution, so nothing is executed; retrying"
                    );
                }
            }
            if !pauses.wait(&self.run.stop).await {
                return Err(BusError::Closed);
            }
        }
    }

    /// Tells people of our analyst's solution that cannot be recorded, so that nothing is done.
    fn tell_people(&self, delivery: &Delivery, error: &HistoryError) {
        if !matches!(
            error,
            HistoryError::Full { .. } | HistoryError::Store { .. }
        ) {
            return;
        }
        let executor = Arc::clone(&self.run.executor);
        let Ok(Received::Claimed(solution)) = decode(delivery, (executor.clock)()) else {
            return;
        };
        let error = error.to_string();
        self.tasks.spawn(async move {
            if !provenance::is_plausibly_ours(&executor, &solution).await {
                return;
            }
            let target = solution.target.as_ref().map(ToString::to_string);
            let unrecorded = Unrecorded {
                key: solution.id.clone(),
                title: format!(
                    "{} of {} is not done: it cannot be recorded",
                    solution.solution_type,
                    target.unwrap_or_default()
                ),
                text: format!("{}\n{error}", solution.explanation),
                incident: solution.incident.clone(),
                target: solution.target.clone(),
            };
            executor.off_record.tell(unrecorded).await;
        });
    }

    async fn try_accept(&self, delivery: &Delivery) -> Result<(), Refused> {
        let executor = &self.run.executor;
        let received_at = (executor.clock)();
        let solution = match decode(delivery, received_at)? {
            Received::Foreign(solution) => solution,
            Received::Claimed(claimed) => {
                // The record counts, not the message: a person's request is on record before it is
                // published, and so is a solution that was delivered before.
                if self.is_on_record(&claimed).await? {
                    return Ok(());
                }
                if provenance::is_plausibly_ours(executor, &claimed).await {
                    claimed
                } else {
                    tracing::warn!(
                        offset = delivery.offset,
                        claimed = claimed.provenance.source,
                        decision.id = claimed.id,
                        "solution claims to be ours and is not: treating it as foreign"
                    );
                    disown(claimed, delivery, received_at)?
                }
            }
        };
        if self.is_on_record(&solution).await? {
            return Ok(());
        }
        let incident = match &solution.incident {
            Some(id) => provenance::incident(executor, id).await,
            None => None,
        };
        let decision = proposed(&solution, incident.as_ref());
        let input = solution
            .basis
            .filter(|_| decision.provenance.source == Provenance::ENGINE)
            .map(Input::Diagnosis);
        executor
            .record(DecisionEventKind::Proposed, &decision, input)
            .await?;
        self.spawn(decision.id);
        Ok(())
    }

    async fn is_on_record(&self, solution: &Solution) -> Result<bool, HistoryError> {
        let id = DecisionId::from(solution.id.clone());
        let Some(recorded) = self.run.executor.history.decision(&id).await? else {
            return Ok(false);
        };
        if recorded.state() == DecisionState::Proposed {
            self.spawn(id);
        } else {
            tracing::info!(decision.id = %id, "solution is on record already");
        }
        Ok(true)
    }

    /// Runs a decision from its recorded state, unless it is in flight already.
    fn spawn(&self, id: DecisionId) {
        let run = self.run.clone();
        let Some(entry) = run.executor.in_flight.begin(&id) else {
            return;
        };
        self.tasks.spawn(async move {
            let _entry = entry;
            run_decision(&run, &id).await;
        });
    }
}

impl Handler for SolutionConsumer {
    type Error = BusError;

    async fn before_read(
        &mut self,
        subscription: &mut dyn Subscription,
        batch: Batch,
    ) -> Result<ControlFlow<(), Batch>, BusError> {
        Ok(match subscription.is_active() {
            true => ControlFlow::Continue(batch),
            false => ControlFlow::Break(()),
        })
    }

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        self.accept_all(subscription, deliveries).await?;
        Ok(ControlFlow::Continue(()))
    }
}
