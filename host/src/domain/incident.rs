//! Findings about one target that belong together.

use serde::{Deserialize, Serialize};

use super::{
    Coverage, Evidence, Finding, IncidentId, Meaning, Phase, Series, Target, UnixMs, ReplayContext,
    time::{as_rfc3339, as_rfc3339_option},
};

/// From the first finding to all-clear; at most one open per target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// hash(target, first finding).
    pub id: IncidentId,
    /// What it is about.
    pub target: Target,
    /// When it opened, by the first sample that was out.
    #[serde(with = "as_rfc3339")]
    pub opened_at: UnixMs,
    /// When it changed last.
    #[serde(with = "as_rfc3339")]
    pub changed_at: UnixMs,
    /// When all was clear again.
    #[serde(with = "as_rfc3339_option")]
    pub cleared_at: Option<UnixMs>,
    /// The newest finding of each series, in the order in which the series joined.
    pub findings: Vec<Finding>,
    /// Who answered when it last changed, per signal added up.
    pub coverage: Coverage,
    /// The samples around the onset, per series.
    pub samples: Vec<Series>,
    /// Whether it came from someone else's samples.
    #[serde(default)]
    pub foreign: bool,
}

impl Incident {
    /// Whether it goes on.
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

    /// The findings that go on.
    pub fn active(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.phase != Phase::Clear)
    }
}

/// Why an event on `incidents-topic` was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentEventKind {
    /// The first finding.
    Opened,
    /// A finding joined, or one changed its phase.
    Changed,
    /// It is still going on after the time set for confirmation, or it cleared before that: time to
    /// diagnose.
    Confirmed,
    /// An action gathered more evidence: to be diagnosed once more.
    Gathered,
    /// All clear.
    Cleared,
}

/// What travels on `incidents-topic`: always the whole incident, so that reading an event twice
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentEvent {
    /// Why.
    pub kind: IncidentEventKind,
    /// When.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// What it looks like now.
    pub incident: Incident,
    /// What an action gathered (`gathered` only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// How often it has been diagnosed before.
    #[serde(default)]
    pub attempt: u32,
    /// What the detectors knew that found it (`confirmed` only, and not of all where there are
    /// many).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<ReplayContext>,
}
