//! Executes solutions: records each as a decision and carries the decision out, step by step.
//!
//! [`life`] shows the whole life of a decision. The other files hold one stage or one part each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Dispatcher, KillSwitch, Silences};
use crate::verification::{RecentSamples, VerifyConfig};
use anomalyzer_bus::retry::Backoff;
use anomalyzer_bus::{Bus, BusError, Subscription};
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_domain::{
    Clock, Decision, DecisionId, Delivery, Grant, Parameters, Solution, Topic, duration,
};
use anomalyzer_history::{DecisionEvent, DecisionEventKind, History, HistoryError, Input};
use anomalyzer_plugin_host::Plugins;
use anomalyzer_policy::Policy;

use super::consumer::SolutionConsumer;
use super::decision_run::DecisionRun;
use super::in_flight::InFlight;
use super::incidents::OpenIncidents;

/// Limits for carrying out decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorConfig {
    /// Maximum number of decisions that act at the same time.
    pub concurrency: usize,
    /// Maximum number of operations that one action may ask for.
    #[serde(rename = "most_operations")]
    pub max_operations: u32,
    /// Maximum number of steps of one action, including waits.
    #[serde(rename = "most_steps")]
    pub max_steps: u32,
    /// Maximum duration of one action, including waits.
    #[serde(with = "duration")]
    pub action_timeout: Duration,
    /// Maximum duration of one operation.
    #[serde(with = "duration")]
    pub operation_timeout: Duration,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            max_operations: 50,
            max_steps: 200,
            action_timeout: Duration::from_secs(600),
            operation_timeout: Duration::from_secs(60),
        }
    }
}

/// Everything that decisions are carried out with. All decisions of a process share one executor.
pub struct Executor {
    pub config: ExecutorConfig,
    pub verify: VerifyConfig,
    pub policy: Policy,
    pub grants: Vec<Grant>,
    /// Configured parameters of `rate_limit` by target: the object to patch or the URL to call.
    pub rate_limits: HashMap<String, Parameters>,
    pub plugins: Plugins,
    pub dispatcher: Dispatcher,
    pub history: History,
    pub bus: Arc<dyn Bus>,
    pub recent: RecentSamples,
    pub incidents: OpenIncidents,
    pub clock: Clock,
    /// Milliseconds of a clock that never jumps. Its zero point has no meaning.
    pub monotonic: Clock,
    pub kill_switch: KillSwitch,
    pub silences: Silences,
    pub in_flight: InFlight,
}

/// Reason why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The request cannot be recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The request is on record and cannot be published.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Executor {
    /// Returns the reason given for the kill switch while it is on.
    pub fn stopped(&self) -> Option<String> {
        self.kill_switch.why()
    }

    /// Carries out solutions until `shutdown` is cancelled.
    ///
    /// The offset of a solution is committed once its decision is on record. From there the
    /// decision continues after a crash as well. If several servers share the topics, one of them
    /// acts, and the others wait here until solutions are delivered to them.
    ///
    /// # Errors
    /// The bus stayed out of reach.
    pub async fn run(
        self: Arc<Self>,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let mut pauses = Backoff::default();
        while !shutdown.is_cancelled() {
            // The subscription comes first: if the bus is out of reach, nothing was begun that the
            // next try would begin again. Each try subscribes anew, because solutions delivered to
            // a server on standby are delivered again to the server that acts.
            let mut subscription = self.bus.subscribe(Topic::Solutions, group).await?;
            let Some(first) = turn(subscription.as_mut(), &shutdown).await? else {
                return Ok(());
            };
            if let Err(error) = self.history.take_over().await {
                tracing::error!(%error, "cannot record, so nothing is executed; retrying");
                // Another server may be able to record: leave the solutions to it meanwhile.
                drop(subscription);
                pauses.wait(&shutdown).await;
                continue;
            }
            pauses = Backoff::default();
            let stop = shutdown.child_token();
            // After a panic too, the tasks of this run end with it.
            let _end = stop.clone().drop_guard();
            let consumer = SolutionConsumer {
                tasks: TaskTracker::new(),
                run: DecisionRun {
                    executor: Arc::clone(&self),
                    stop: stop.clone(),
                    permits: Arc::new(Semaphore::new(self.config.concurrency.max(1))),
                },
            };
            let result = tokio::select! {
                result = consumer.work(subscription.as_mut(), first) => result,
                () = self.history.stands_by() => Ok(()),
            };
            stop.cancel();
            consumer.tasks.close();
            consumer.tasks.wait().await;
            match result {
                // The bus is closed, or `shutdown` was cancelled during a wait for the bus.
                Err(BusError::Closed) => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    /// Accepts a person's request. The request survives a crash once this returns.
    ///
    /// The request is recorded here before it is published, because a message on the topic proves
    /// nothing about its sender. A request sent twice is recorded once.
    ///
    /// # Errors
    /// The request is not on record, or could not be published. The caller may then send it again.
    /// A request on record is also resumed at the next start unless it expired before.
    pub async fn accept(&self, solution: &Solution) -> Result<(), AcceptError> {
        let id = DecisionId::from(solution.id.clone());
        {
            let _accepting = self.in_flight.accepting.lock().await;
            if self.history.decision(&id).await?.is_none() {
                let decision = Decision::proposed(solution);
                self.record(DecisionEventKind::Proposed, &decision, None)
                    .await?;
            }
        }
        let published = self
            .bus
            .publish(
                Topic::Solutions,
                anomalyzer_wire::solutions::encode(solution),
            )
            .await;
        if let Err(error @ BusError::TooLarge { .. }) = &published {
            // The bus will never take it, so the next start must not resume it either.
            let decision = Decision::unpublishable(solution, error.to_string());
            self.record(DecisionEventKind::Ended, &decision, None)
                .await?;
        }
        Ok(published?)
    }

    /// Records an event of a decision. The event is durable when this returns: nothing that follows
    /// from it happens before.
    ///
    /// `input` is the verdict's or the diagnosis's input, for a replay.
    pub async fn record(
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

/// Waits until solutions are delivered to this server, and returns the solutions delivered so far.
/// Returns `None` once `shutdown` is cancelled.
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
