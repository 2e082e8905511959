//! Output of an explanation.

use anomalyzer_domain::{IncidentId, Meaning};
use anomalyzer_world::{Change, EntityKey};
use serde::{Deserialize, Serialize};

use crate::family::Family;

/// Groups of incidents with a root each, and the incidents that nothing explains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Groups, in the order of their first incident.
    pub groups: Vec<Group>,
    /// Incidents without a root.
    pub alone: Vec<Alone>,
}

/// Kind of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// The entity itself.
    Entity,
    /// Something that several entities share: a node, a zone, a configuration object.
    SharedFate,
    /// The entity of the incident, without a loss to divide.
    OwnTarget,
}

/// Suggested handling, by the confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// The result is only reported.
    Report,
    /// A person decides.
    Ask,
    /// An action needs no approval.
    Act,
}

/// Incidents with one root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Root.
    pub root: EntityKey,
    /// Kind of the root.
    pub kind: RootKind,
    /// Fault family that the evidence at the root names.
    pub family: Option<Family>,
    /// Confidence that the root is right, 0 to 1.
    pub confidence: f64,
    /// Suggested handling.
    pub advice: Advice,
    /// Share of the root's own loss in all own losses that reach the incidents, 0 to 1. `None` if
    /// there is no loss to divide.
    pub share: Option<f64>,
    /// Losses of the root, by meaning.
    pub losses: Vec<RootLoss>,
    /// Incidents of the group.
    pub members: Vec<Member>,
    /// Evidence. The ids are unique in the group.
    pub evidence: Vec<EvidenceItem>,
    /// Change of the root, or of something that the root uses, shortly before the onset.
    pub change: Option<ChangeSuspect>,
    /// Changes of other entities in that time. They are not used.
    pub also_changed: Vec<Change>,
    /// Next candidates, the likeliest first.
    pub runners_up: Vec<RunnerUp>,
    /// Hard evidence at entities without a loss of their own. It is reported only.
    pub also_seen: Vec<EvidenceItem>,
    /// Gaps in the input that could hide another root.
    pub not_seen: Vec<NotSeen>,
    /// Calls that no source reports, and that conservation of loss suggests.
    pub guessed_calls: Vec<GuessedCall>,
    /// Explanation in sentences.
    pub text: String,
}

/// Loss of an entity in one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootLoss {
    /// `latency` (seconds) or `errors` (failed requests).
    pub meaning: Meaning,
    /// Loss beyond the usual range since the onset.
    pub total: f64,
    /// Part that does not come from callees.
    pub own: f64,
}

/// Incident of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Incident.
    pub incident: IncidentId,
    /// Entity of the incident.
    pub target: EntityKey,
    /// Part of the incident's loss that the root explains, 0 to 1. `None` without a loss.
    pub share: Option<f64>,
    /// True if the root explains the incident, so that it needs no diagnosis of its own.
    pub explained: bool,
    /// Calls from the incident's entity to the root, both included. Empty if none is known.
    pub path: Vec<EntityKey>,
}

/// Kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// State, condition, exit reason or change that names the family.
    Hard,
    /// Value outside of its range for at least two windows.
    Soft,
    /// Measured number without a judgement.
    Number,
}

/// Evidence with an id, so that a text can cite it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceItem {
    /// Id, unique in the group.
    pub id: String,
    /// Entity that shows the evidence.
    pub entity: EntityKey,
    /// Weight.
    pub weight: Weight,
    /// Family that the evidence names; `None` for a number.
    pub family: Option<Family>,
    /// Evidence in words.
    pub text: String,
}

/// Change that may be the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSuspect {
    /// Change.
    pub change: Change,
    /// Weight: 1 at the onset, and half for each ten minutes before it.
    pub weight: f64,
}

/// Candidate that is not the root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// Entity.
    pub entity: EntityKey,
    /// Share of its own loss, 0 to 1.
    pub share: f64,
}

/// Gap in the input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotSeen {
    /// Entity.
    pub entity: EntityKey,
    /// Reason.
    pub reason: Gap,
}

/// Reason of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// No source measures the entity.
    NoSeries,
    /// The series has no value in some windows since the onset.
    MissingWindows,
    /// The sources of the entity do not answer.
    NotCovered,
    /// The number of requests is unknown.
    NoCounts,
}

impl Gap {
    /// Returns the words for a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoSeries => "no series",
            Self::MissingWindows => "missing samples",
            Self::NotCovered => "its source does not answer",
            Self::NoCounts => "no request counts",
        }
    }
}

/// Call that no source reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GuessedCall {
    /// Caller.
    pub from: EntityKey,
    /// Callee.
    pub to: EntityKey,
}

/// Reason for which an incident has no root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AloneReason {
    /// No loss beyond the usual range could move the incident's value out of its range.
    NothingBeyondRange,
    /// The incident is about missing data, which never says where a fault is.
    Coverage,
    /// No whole window has passed since the onset.
    TooEarly,
    /// A bound of the explanation was reached.
    Bound,
}

/// Incident without a root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    /// Incident.
    pub incident: IncidentId,
    /// Entity of the incident.
    pub target: EntityKey,
    /// Reason.
    pub reason: AloneReason,
}
