//! Executor: the parts that decisions are carried out with, and the record of what they do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Dispatcher, KillSwitch, Silences};
use anomalyzer_bus::{Bus, BusError};
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_domain::{
    Clock, Decision, DecisionId, Grant, Parameters, Solution, Topic, duration,
};
use anomalyzer_history::{DecisionEvent, DecisionEventKind, History, HistoryError, Input};
use anomalyzer_plugin_host::Plugins;
use anomalyzer_policy::Policy;
use anomalyzer_verification::{RecentSamples, SignalTiming, VerifyConfig};

use super::in_flight::InFlight;
use super::incidents::OpenIncidents;
use super::off_record::OffRecord;

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
    /// Limits for carrying out decisions.
    pub config: ExecutorConfig,
    /// Timing and thresholds of verifications.
    pub verify: VerifyConfig,
    /// Timing of the samples, by signal.
    pub timing: BTreeMap<String, SignalTiming>,
    /// Policy that the guard judges by.
    pub policy: Policy,
    /// Grants of the configuration.
    pub grants: Vec<Grant>,
    /// Configured parameters of `rate_limit` by target: the object to patch or the URL to call.
    pub rate_limits: HashMap<String, Parameters>,
    /// Loaded plugins, which hold the actions.
    pub plugins: Plugins,
    /// Sends operations to the operators, the channels and the metrics.
    pub dispatcher: Dispatcher,
    /// History, which records each event of a decision.
    pub history: History,
    /// Bus with the topics of solutions and incidents.
    pub bus: Arc<dyn Bus>,
    /// Recent samples, which verifications compare.
    pub recent: RecentSamples,
    /// Incidents known from the topic since the start.
    pub incidents: OpenIncidents,
    /// Wall clock.
    pub clock: Clock,
    /// Milliseconds of a clock that never jumps. Its zero point has no meaning.
    pub monotonic: Clock,
    /// Kill switch for all operations.
    pub kill_switch: KillSwitch,
    /// Silences of targets.
    pub silences: Silences,
    /// Notices about what cannot be recorded.
    pub off_record: OffRecord,
    /// State that the decisions in flight share.
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
