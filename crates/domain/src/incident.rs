//! Incidents: groups of related findings about one target.

use serde::{Deserialize, Serialize};

use super::{
    Coverage, Evidence, Finding, IncidentId, Meaning, Phase, ReplayContext, Series, Target, UnixMs,
    time::{as_rfc3339, as_rfc3339_option},
};

/// Group of findings about one target, from the first finding to all-clear. At most one incident
/// per target is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Id of the incident: hash(target, first finding).
    pub id: IncidentId,
    /// Target of the incident.
    pub target: Target,
    /// Time at which the incident opened: the time of its first anomalous sample.
    #[serde(with = "as_rfc3339")]
    pub opened_at: UnixMs,
    /// Time of the last change.
    #[serde(with = "as_rfc3339")]
    pub changed_at: UnixMs,
    /// Time at which all findings had cleared.
    #[serde(with = "as_rfc3339_option")]
    pub cleared_at: Option<UnixMs>,
    /// Newest finding of each series, in the order in which the series joined.
    pub findings: Vec<Finding>,
    /// Coverage at the last change, added up over the signals.
    pub coverage: Coverage,
    /// Samples around the onset, per series.
    pub samples: Vec<Series>,
    /// True if the incident came from another producer's samples.
    #[serde(default)]
    pub foreign: bool,
}

impl Incident {
    /// Returns true if the incident has not cleared.
    pub fn is_open(&self) -> bool {
        self.cleared_at.is_none()
    }

    /// Returns the finding with the highest severity, also among those that are over. Of several
    /// with that severity the last one counts.
    pub fn most_severe(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .max_by(|a, b| a.severity.total_cmp(&b.severity))
    }

    /// Returns the finding that says most about the problem: the most severe active one. A finding
    /// that can be verified comes before one that cannot, and demand comes last. If no finding is
    /// active, returns the first one.
    pub fn worst_verifiable(&self) -> Option<&Finding> {
        let rank = |finding: &Finding| {
            (
                finding.expected.is_some(),
                finding.meaning != Meaning::Traffic,
            )
        };
        self.active()
            .max_by(|a, b| {
                rank(a)
                    .cmp(&rank(b))
                    .then(a.severity.total_cmp(&b.severity))
            })
            .or(self.findings.first())
    }

    /// Returns the findings that have not cleared.
    pub fn active(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.phase != Phase::Clear)
    }
}

/// Reason for an event on `incidents-topic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentEventKind {
    /// The first finding arrived.
    Opened,
    /// A finding joined, or a finding changed its phase.
    Changed,
    /// The incident is due for diagnosis: it lasted for the confirmation time, or it cleared before
    /// that.
    Confirmed,
    /// An action gathered more evidence, so the incident is diagnosed again.
    Gathered,
    /// All findings cleared.
    Cleared,
}

/// Message on `incidents-topic`. It always contains the whole incident, so that reading an event
/// twice changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentEvent {
    /// Reason for the event.
    pub kind: IncidentEventKind,
    /// Time of the event.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Current state of the incident.
    pub incident: Incident,
    /// Evidence that an action gathered (`gathered` only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Number of earlier diagnoses of the incident.
    #[serde(default)]
    pub attempt: u32,
    /// State of the detectors that reported the findings (`confirmed` only). If there are many,
    /// some are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<ReplayContext>,
}

impl IncidentEvent {
    /// Creates the first event of its kind about an incident, without evidence or witnesses.
    pub fn new(kind: IncidentEventKind, at: UnixMs, incident: Incident) -> Self {
        Self {
            kind,
            at,
            incident,
            evidence: vec![],
            attempt: 0,
            witnesses: vec![],
        }
    }
}
