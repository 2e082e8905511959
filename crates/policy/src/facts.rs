//! The facts that the guard decides on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Effect;
use anomalyzer_domain::{
    AnalystKind, Coverage, Incident, Mode, Operation, Snapshot, Target, UnixMs, millis, solutions,
};

/// Origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Our own analyst, about one of our incidents and its target.
    Engine,
    /// A person, through the API of this server, which has recorded the request.
    Person,
    /// A message on the topic that is not ours.
    Foreign,
}

/// Current knowledge about the incident. The default describes an incident that is not known here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentFacts {
    /// True if the incident is still open. `None` if it is not known here.
    pub open: Option<bool>,
    /// Coverage of the incident's signals when they were last asked.
    pub coverage: Coverage,
    /// Time of the newest sample of the signal that lags furthest behind. `None` if one of the
    /// signals has no samples.
    pub as_of: Option<UnixMs>,
    /// The signals that are anomalous.
    #[serde(default)]
    pub signals: Vec<String>,
    /// Highest severity among these signals.
    #[serde(default)]
    pub severity: f64,
    /// Time when the incident opened.
    #[serde(default)]
    pub opened_at: Option<UnixMs>,
}

impl IncidentFacts {
    /// Collects the facts from an incident.
    pub fn of(incident: &Incident, coverage: Coverage, as_of: Option<UnixMs>) -> Self {
        let mut signals: Vec<String> = incident
            .active()
            .map(|finding| finding.signal.clone())
            .collect();
        signals.sort_unstable();
        signals.dedup();
        Self {
            open: Some(incident.is_open()),
            coverage,
            as_of,
            signals,
            severity: incident
                .active()
                .map(|finding| finding.severity)
                .fold(0.0, f64::max),
            opened_at: Some(incident.opened_at),
        }
    }
}

/// Origin of the diagnosis, and its confidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiagnosisFacts {
    /// The analyst that made the diagnosis.
    pub analyst: AnalystKind,
    /// Confidence from 0 to 1.
    pub confidence: f64,
    /// Number of earlier diagnoses of the incident.
    pub attempt: u32,
}

impl Default for DiagnosisFacts {
    fn default() -> Self {
        Self {
            analyst: AnalystKind::External,
            confidence: 0.0,
            attempt: 0,
        }
    }
}

/// Configuration of `rate_limit` for the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimitFacts {
    /// Object that it patches: the target itself, or the Ingress in front of it. `None` if it sends
    /// a request instead.
    pub patches: Option<Target>,
}

/// An operation that was done or tried before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastOperation {
    /// Target of the operation.
    pub target: Target,
    /// Solution that the operation belongs to.
    pub solution: String,
    /// Kind of the operation, such as `scale`.
    pub kind: String,
    /// Number of replicas that the operation scaled to, if it scaled.
    pub replicas: Option<u32>,
    /// Title of the notice, if the operation was a notice.
    pub notice: Option<String>,
    /// Time of the request by the present clock: now less its age.
    pub asked_at: UnixMs,
    /// True if the operation took effect, or may have taken effect.
    pub took_effect: bool,
}

/// A person's approval of the operation, given for the current state of its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// The person who approved.
    pub by: String,
    /// Time after which the approval is no longer valid.
    pub expires_at: UnixMs,
}

/// Number of operations within the hour that changed a target, or may have changed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Operations on the target of this operation.
    pub on_target: u32,
    /// Operations in the namespace of the target.
    pub in_namespace: u32,
    /// Operations in the cluster of the target.
    pub in_cluster: u32,
}

/// Knowledge about the target of an operation besides its snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetFacts {
    /// Reason why there is no snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// Name of the client that put an earlier operation of this kind back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverted_by: Option<String>,
    /// Time until which the signals of the incident may repeat the values of pods that were
    /// replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo_until: Option<UnixMs>,
}

impl TargetFacts {
    /// Returns true if nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All facts that the guard may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Time of the request.
    pub now: UnixMs,
    /// Milliseconds by which look-back windows are extended. Records of earlier versions have them:
    /// the distance that the clock jumped ahead within the hour.
    #[serde(default)]
    pub jumped: i64,
    /// Origin of the request.
    pub source: Source,
    /// The action's name, such as `scale_up`.
    pub solution: String,
    /// Mode of the plugin that carries out the action.
    pub plugin_mode: Mode,
    /// Target of the solution.
    pub target: Option<Target>,
    /// Time after which the solution is stale.
    pub expires_at: UnixMs,
    /// The incident, if the solution is about one.
    pub incident: Option<IncidentFacts>,
    /// The diagnosis behind the solution.
    #[serde(default)]
    pub diagnosis: DiagnosisFacts,
    /// The operation. `None` if the solution itself is judged, before its action runs.
    pub operation: Option<Operation>,
    /// Effect of the operation on its target, derived when the facts were gathered; see
    /// [`Facts::with_effect`]. `None` without an operation, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// True if the operation is a rollback of an earlier operation of the same decision.
    #[serde(default)]
    pub takes_back: bool,
    /// A person's approval of exactly this operation, if there is one.
    #[serde(default)]
    pub approved: Option<Approved>,
    /// Current state of the target. `None` if it can't be read.
    pub snapshot: Option<Snapshot>,
    /// Further knowledge about the target.
    #[serde(default, skip_serializing_if = "TargetFacts::is_empty")]
    pub target_facts: TargetFacts,
    /// Reason why the kill switch is on, if it is on.
    pub stopped: Option<String>,
    /// First difference of the record from its events, if nothing may be changed because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_mismatch: Option<String>,
    /// Reason why the target is silenced, if it is silenced.
    #[serde(default)]
    pub silenced: Option<String>,
    /// Number of open incidents, including this one.
    #[serde(default)]
    pub open_incidents: u32,
    /// Changes that count towards the budgets.
    pub spent: Spent,
    /// Operations within the policy's look-back time on the operation's target. If there is no
    /// operation, those on the solution's target.
    pub past: Vec<PastOperation>,
    /// The `[[rate_limit]]` of this target, if there is one.
    pub rate_limit: Option<RateLimitFacts>,
}

impl Facts {
    /// Returns the point in time `time` ago, corrected for jumps of the clock.
    pub(super) fn before(&self, time: Duration) -> UnixMs {
        let time = millis(time);
        self.now.saturating_sub(time).saturating_sub(self.jumped)
    }

    /// Records the effect of the operation. The snapshot must be whole for this. `declared` is the
    /// effect of a request that its grants declare; see
    /// [`declared_effect`](super::grants::declared_effect).
    #[must_use]
    pub fn with_effect(mut self, declared: Option<Effect>) -> Self {
        // A configured limit without an object to patch is a request.
        let limits_rate = self.solution == solutions::RATE_LIMIT
            && matches!(self.rate_limit, Some(RateLimitFacts { patches: None }));
        let declared = limits_rate.then_some(Effect::NONE).or(declared);
        let effect =
            |operation: &Operation| Effect::of(operation, self.snapshot.as_ref(), declared);
        self.effect = self.operation.as_ref().map(effect);
        self
    }

    /// Returns the recorded effect of the operation. A record of an earlier version holds none, and
    /// its verdict followed from the verb.
    pub(super) fn effect(&self) -> Effect {
        let of_verb = || self.operation.as_ref().map(Effect::of_verb);
        self.effect.or_else(of_verb).unwrap_or_default()
    }

    /// Returns true if a time lies after `since` and not in the future. A time in the future was
    /// recorded while the clock was ahead, and says nothing about when it was.
    pub(super) fn is_since(&self, at: UnixMs, since: UnixMs) -> bool {
        since < at && at <= self.now
    }

    /// Marks the operation as a rollback. A rollback never expires.
    pub fn take_back(&mut self) {
        self.takes_back = true;
        self.expires_at = self.expires_at.max(self.now);
    }
}
