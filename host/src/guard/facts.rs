//! What the guard knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::domain::{AnalystKind, Coverage, Incident, Operation, Snapshot, Target, UnixMs, millis};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Our analyst, about an incident of ours and its target.
    Engine,
    /// A person, by the API of this server, which has it on record.
    Person,
    /// A message on the topic that is not ours.
    Foreign,
}

/// What is known about the incident at this moment. The default is one that nobody here knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentFacts {
    /// Whether it goes on. None when nobody here knows the incident.
    pub open: Option<bool>,
    /// Who answered when the signals of the incident were asked last.
    pub coverage: Coverage,
    /// When the newest sample was taken of that of its signals which lags behind most. None when
    /// one of them has none.
    pub as_of: Option<UnixMs>,
    /// The signals that are out.
    #[serde(default)]
    pub signals: Vec<String>,
    /// How bad the worst of them is.
    #[serde(default)]
    pub severity: f64,
    /// When it opened.
    #[serde(default)]
    pub opened_at: Option<UnixMs>,
}

impl IncidentFacts {
    /// What an incident says of itself.
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

/// Who thought of it, and how sure they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiagnosisFacts {
    /// Who.
    pub analyst: AnalystKind,
    /// 0 to 1.
    pub confidence: f64,
    /// How often the incident was diagnosed before.
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

/// What is configured for `rate_limit` of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimitFacts {
    /// What it patches: the target itself, or the Ingress before it. None where it sends a request.
    pub patches: Option<Target>,
}

/// An operation that was done or tried before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastOperation {
    /// On what.
    pub target: Target,
    /// By which solution.
    pub solution: String,
    /// `scale`, …
    pub kind: String,
    /// What it scaled to, if it did.
    pub replicas: Option<u32>,
    /// What a notice said, in its title.
    pub notice: Option<String>,
    /// When.
    pub asked_at: UnixMs,
    /// Whether it took effect, or may have.
    pub took_effect: bool,
}

/// A person's yes to the operation, on the state that its target is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Who said it.
    pub by: String,
    /// After that it counts no more.
    pub expires_at: UnixMs,
}

/// Operations that changed a target within the hour, or may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// On what is touched.
    pub on_target: u32,
    /// In its namespace.
    pub in_namespace: u32,
    /// In its cluster.
    pub in_cluster: u32,
}

/// Everything that the guard may look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The time of asking.
    pub now: UnixMs,
    /// How far the clock jumped ahead within the hour, in milliseconds: so much further is looked
    /// back.
    #[serde(default)]
    pub jumped: i64,
    /// Who asks.
    pub source: Source,
    /// The action's name, as `scale_up`.
    pub solution: String,
    /// How far the plugin that carries it out may go by itself.
    pub plugin_mode: Mode,
    /// What the solution is about.
    pub target: Option<Target>,
    /// After that it is stale.
    pub expires_at: UnixMs,
    /// The incident, if it is about one.
    pub incident: Option<IncidentFacts>,
    /// The diagnosis that it comes of.
    #[serde(default)]
    pub diagnosis: DiagnosisFacts,
    /// The operation. None when the solution as such is judged, before its action runs.
    pub operation: Option<Operation>,
    /// Whether the operation takes back what the same decision did before.
    #[serde(default)]
    pub takes_back: bool,
    /// Whether a person said yes to exactly this.
    #[serde(default)]
    pub approved: Option<Approved>,
    /// What the target looks like now. None when it can't be looked at.
    pub snapshot: Option<Snapshot>,
    /// Why the kill switch is on, if it is.
    pub stopped: Option<String>,
    /// Why the target is to be left alone, if it is.
    #[serde(default)]
    pub silenced: Option<String>,
    /// How many incidents are open, this one included.
    #[serde(default)]
    pub open_incidents: u32,
    /// What of the budgets is used up.
    pub spent: Spent,
    /// Operations on what is touched (without an operation, on the target) within the time that the
    /// policy looks back.
    pub past: Vec<PastOperation>,
    /// The `[[rate_limit]]` of this target, if there is one.
    pub rate_limit: Option<RateLimitFacts>,
}

impl Facts {
    /// The time so long ago, by a clock that did not jump.
    pub(super) fn before(&self, time: Duration) -> UnixMs {
        let time = millis(time);
        self.now.saturating_sub(time).saturating_sub(self.jumped)
    }

    /// The operation takes back what was done: for that it is never too late.
    pub fn take_back(&mut self) {
        self.takes_back = true;
        self.expires_at = self.expires_at.max(self.now);
    }
}
