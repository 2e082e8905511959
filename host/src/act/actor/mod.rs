//! The acting half's loop: solutions in, decisions recorded, actions driven step by step, effects
//! verified.

mod approval;
mod bounds;
mod crew;
mod desk;
mod drive;
mod driver;
mod evidence;
mod facts;
mod incidents;
mod jumps;
mod not_now;
mod origin;
mod perform;
mod proposal;
mod scale_back;
mod settle;
mod undo;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::grants::Grant;
use super::{Hands, KillSwitch, Silences};
use crate::bus::again::Pauses;
use crate::bus::{Bus, BusError, Subscription};
use crate::common::failpoint::fail_point;
use crate::domain::{
    Clock, Decision, DecisionId, DecisionState, Delivery, GuardVerdict, Parameters, Solution,
    Topic, duration,
};
use crate::guard::{Facts, Policy};
use crate::history::{Asked, DecisionEvent, DecisionEventKind, History, HistoryError, Input};
use crate::plugin::Plugins;
use crate::verify::{Recent, VerifyConfig};
use crate::{codec, guard};

pub use approval::AnswerError;
pub use desk::Desk;
pub use incidents::OpenIncidents;
pub(crate) use proposal::proposed;

use crew::Crew;
use driver::Driver;

/// How decisions are carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActorConfig {
    /// Decisions under way at the same time.
    pub concurrency: usize,
    /// Most operations one action may ask for.
    pub most_operations: u32,
    /// Most steps of one action, waiting included.
    pub most_steps: u32,
    /// How long one action may take, waiting included.
    #[serde(with = "duration")]
    pub action_timeout: Duration,
    /// How long one operation may take.
    #[serde(with = "duration")]
    pub operation_timeout: Duration,
}

impl Default for ActorConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            most_operations: 50,
            most_steps: 200,
            action_timeout: Duration::from_secs(600),
            operation_timeout: Duration::from_secs(60),
        }
    }
}

/// The acting part.
pub struct Actor {
    pub(crate) config: ActorConfig,
    pub(crate) verify: VerifyConfig,
    pub(crate) policy: Policy,
    pub(crate) grants: Vec<Grant>,
    /// Merged under the parameters of `rate_limit`: what to patch or to call.
    pub(crate) rate_limits: HashMap<String, Parameters>,
    pub(crate) plugins: Plugins,
    pub(crate) hands: Hands,
    pub(crate) history: History,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) recent: Recent,
    pub(crate) incidents: OpenIncidents,
    pub(crate) clock: Clock,
    /// Milliseconds since some time or other, by a clock that only ever goes on.
    pub(crate) steady: Clock,
    pub(crate) kill_switch: KillSwitch,
    pub(crate) silences: Silences,
    pub(crate) desk: Desk,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It cannot be recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It is on record and cannot be published.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Actor {
    /// Why the kill switch is on, if it is.
    pub fn stopped(&self) -> Option<String> {
        self.kill_switch.why()
    }

    /// Runs until told to stop. A solution is committed when its decision is on record; the
    /// decision is carried on from there also after a crash. Where several servers share the topics
    /// one of them acts, and this one waits until it is that.
    ///
    /// # Errors
    /// The bus stayed out of reach.
    pub async fn run(
        self: Arc<Self>,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let mut pauses = Pauses::default();
        while !shutdown.is_cancelled() {
            // First, so that a bus out of reach leaves nothing behind that the next try would begin
            // again. Anew each time: what was delivered to one who stands by now is delivered again
            // to whoever acts.
            let mut subscription = self.bus.subscribe(Topic::Solutions, group).await?;
            let Some(first) = turn(subscription.as_mut(), &shutdown).await? else {
                return Ok(());
            };
            if let Err(error) = self.history.take_over().await {
                tracing::error!(%error, "nothing is done until this server can record; trying again");
                // Solutions go to another one meanwhile, which may be able to.
                drop(subscription);
                pauses.wait(&shutdown).await;
                continue;
            }
            pauses = Pauses::default();
            let stop = shutdown.child_token();
            // Also after a panic: what was begun here ends with this.
            let _end = stop.clone().drop_guard();
            let crew = Crew {
                tasks: TaskTracker::new(),
                places: Arc::new(Semaphore::new(self.config.concurrency.max(1))),
                driver: Driver {
                    actor: Arc::clone(&self),
                    stop: stop.clone(),
                },
            };
            let result = tokio::select! {
                result = crew.work(subscription.as_mut(), first) => result,
                () = self.history.stands_by() => Ok(()),
            };
            stop.cancel();
            crew.tasks.close();
            crew.tasks.wait().await;
            match result {
                // The bus is closed, or it was told to stop while something waited for the bus.
                Err(BusError::Closed) => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    /// Takes a person's request: on record here before it travels, since what travels proves
    /// nothing. The same one sent again is recognised. It survives a crash from the moment when
    /// this returns.
    ///
    /// # Errors
    /// It is not on record, or could not be published: then it may be sent again, and is taken up
    /// at the next start unless it expired until then.
    pub async fn accept(&self, solution: &Solution) -> Result<(), AcceptError> {
        let id = DecisionId::from(solution.id.clone());
        {
            let _accepting = self.desk.accepting.lock().await;
            if self.history.decision(&id).await?.is_none() {
                self.record(DecisionEventKind::Proposed, &proposed(solution, None))
                    .await?;
            }
        }
        let published = self
            .bus
            .publish(Topic::Solutions, codec::solutions::encode(solution))
            .await;
        if let Err(error @ BusError::TooLarge { .. }) = &published {
            // It never will be: it must not be taken up at the next start either.
            let mut decision = proposed(solution, None);
            (decision.state, decision.summary) = (DecisionState::Failed, Some(error.to_string()));
            self.record(DecisionEventKind::Ended, &decision).await?;
        }
        Ok(published?)
    }

    /// Asks the guard. The answer with all that it was asked on.
    fn judge(&self, mut facts: Facts) -> (GuardVerdict, Input) {
        let verdict = guard::judge(&facts, &self.policy);
        if let Some(snapshot) = &mut facts.snapshot {
            // No rule looks at it, and it is much.
            (snapshot.raw, snapshot.pods, snapshot.events) =
                (serde_json::Value::Null, vec![], vec![]);
        }
        let asked = Asked {
            facts,
            policy: self.policy.clone(),
            verdict: verdict.clone(),
        };
        (verdict, Input::Guard(Box::new(asked)))
    }

    /// Records. Nothing is done before the record is durable.
    async fn record(
        &self,
        kind: DecisionEventKind,
        decision: &Decision,
    ) -> Result<(), HistoryError> {
        self.record_with(kind, decision, None).await
    }

    /// The same with what was decided on.
    async fn record_with(
        &self,
        kind: DecisionEventKind,
        decision: &Decision,
        input: Option<Input>,
    ) -> Result<(), HistoryError> {
        let event = DecisionEvent {
            kind,
            at: (self.clock)(),
            decision: decision.clone(),
            input,
        };
        fail_point("before", kind.as_str());
        self.history.record(event).await?;
        fail_point("after", kind.as_str());
        Ok(())
    }
}

/// Waits until solutions come to this server. Answers what came already; none when told to stop.
async fn turn(
    subscription: &mut dyn Subscription,
    shutdown: &CancellationToken,
) -> Result<Option<Vec<Delivery>>, BusError> {
    let mut first = Vec::new();
    while first.is_empty() && !subscription.is_active() {
        first = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            first = subscription.next(64, Duration::from_millis(100)) => first?,
        };
    }
    Ok(Some(first))
}
