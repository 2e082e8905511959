//! Input of an explanation: the symptoms, as plain data that a decision can record.

use anomalyzer_domain::{
    Direction, Finding, FindingId, IncidentId, Meaning, Range, UnixMs, as_rfc3339,
};
use anomalyzer_world::EntityKey;
use serde::{Deserialize, Serialize};

/// Everything that is known about the open incidents and the entities around them.
///
/// The windows of one explanation are equally long and begin with the window that holds the onset.
/// Window 0 is the oldest one. A list that is shorter than `windows` has gaps at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Symptoms {
    /// Time of the question. No input is newer.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Number of windows since the onset.
    pub windows: usize,
    /// Open, confirmed incidents.
    pub incidents: Vec<OpenIncident>,
    /// Latencies and error shares of entities. Other meanings are ignored.
    #[serde(default)]
    pub measures: Vec<Measure>,
    /// Calls, with the time between their two ends.
    #[serde(default)]
    pub calls: Vec<CallMeasure>,
    /// Use of resources.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Log lines per request.
    #[serde(default)]
    pub logs: Vec<LogPattern>,
    /// Entities whose sources do not answer.
    #[serde(default)]
    pub uncovered: Vec<EntityKey>,
}

/// Open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenIncident {
    /// Id of the incident.
    pub id: IncidentId,
    /// Entity of the incident.
    pub target: EntityKey,
    /// Time at which the incident began.
    #[serde(with = "as_rfc3339")]
    pub onset: UnixMs,
    /// Active findings.
    pub findings: Vec<Observation>,
}

/// Part of a finding that an explanation reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Id of the finding.
    pub id: FindingId,
    /// Quantity.
    pub meaning: Meaning,
    /// Direction of the deviation.
    pub direction: Direction,
    /// Time at which the anomaly began.
    #[serde(with = "as_rfc3339")]
    pub onset: UnixMs,
    /// Newest value; `None` if there is none.
    pub observed: Option<f64>,
    /// Range that was expected.
    pub expected: Option<Range>,
}

impl From<&Finding> for Observation {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            meaning: finding.meaning,
            direction: finding.direction,
            onset: finding.onset_at,
            observed: finding.observed,
            expected: finding.expected,
        }
    }
}

/// Usual values of a series: the 5 % and 95 % quantiles and the median of at least an hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Lower end of the usual range.
    pub low: f64,
    /// Usual level.
    pub level: f64,
    /// Upper end of the usual range.
    pub high: f64,
}

impl Usual {
    /// Returns the values if they are finite and in order.
    pub(crate) fn checked(self) -> Option<Self> {
        let is_usable = self.low.is_finite()
            && self.high.is_finite()
            && self.low <= self.level
            && self.level <= self.high;
        is_usable.then_some(self)
    }
}

/// One window of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Value of the window; `None` for a gap. A gap is never zero.
    pub value: Option<f64>,
    /// Number of requests in the window; `None` if unknown.
    pub requests: Option<f64>,
}

/// Latency or error share of an entity since the onset, as the entity itself measures it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Entity.
    pub entity: EntityKey,
    /// `latency` (seconds a request) or `errors` (share of the requests, 0 to 1).
    pub meaning: Meaning,
    /// Usual values; `None` if they are not known yet.
    pub usual: Option<Usual>,
    /// Value of the last whole window before the onset; `None` if unknown.
    pub before: Option<f64>,
    /// Number of requests in that window; `None` if unknown.
    pub requests_before: Option<f64>,
    /// Windows since the onset.
    pub windows: Vec<Window>,
}

/// Calls from one entity to another since the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallMeasure {
    /// Caller.
    pub from: EntityKey,
    /// Callee.
    pub to: EntityKey,
    /// Usual values of the gap in seconds: the duration at the client minus the duration at the
    /// server. `None` if one end is not measured.
    pub usual_gap: Option<Usual>,
    /// Usual number of calls in a window; `None` if unknown.
    pub usual_calls: Option<f64>,
    /// Windows since the onset: the gap in seconds, and the number of calls.
    pub windows: Vec<Window>,
}

/// Kind of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// Processor.
    Cpu,
    /// Memory.
    Memory,
    /// Pool of connections or threads.
    Pool,
    /// Disk.
    Disk,
    /// Queue.
    Queue,
}

impl ResourceKind {
    /// Returns the word for a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Pool => "pool",
            Self::Disk => "disk",
            Self::Queue => "queue",
        }
    }
}

/// Use of a resource by an entity since the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Entity.
    pub entity: EntityKey,
    /// Resource.
    pub kind: ResourceKind,
    /// Usual values, in the unit of the samples.
    pub usual: Option<Usual>,
    /// Values of the windows; `None` for a gap.
    pub samples: Vec<Option<f64>>,
}

/// Lines of one log template before and since the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPattern {
    /// Entity that writes the lines.
    pub entity: EntityKey,
    /// Template of the lines. The text is data from outside.
    pub template: String,
    /// Number of lines before the onset.
    pub lines_before: f64,
    /// Number of requests during that time.
    pub requests_before: f64,
    /// Number of lines since the onset.
    pub lines_since: f64,
    /// Number of requests during that time.
    pub requests_since: f64,
}
