//! Incident as the host shows it to an action. The reader is lenient and ignores fields that this
//! version does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::bindings::action::exports::anomalyzer::plugin::action as wit;
use crate::{Direction, Error, Phase, Target};

/// Findings about one target that belong together. An incident can also be a person's request,
/// which has no findings.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Id of the incident.
    pub id: String,
    /// Target of the incident.
    pub target: Option<Target>,
    /// State of the target when the solution was allowed.
    pub snapshot: Option<Snapshot>,
    /// Newest finding of each series.
    pub findings: Vec<Finding>,
    /// Cause of the incident, as the analyst sees it.
    pub diagnosis: Option<Diagnosis>,
}

/// State of a target at one time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Replicas of the target. None if its kind has no replicas.
    pub replicas: Option<Replicas>,
    /// True if a rollout is under way.
    pub rolling_out: bool,
    /// Pods of the target, one per replica.
    pub pods: Vec<Pod>,
    /// Recent events, newest last, one line each.
    pub events: Vec<String>,
}

/// Numbers of replicas of a target.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Replicas {
    /// Number of replicas that there should be.
    pub desired: u32,
    /// Number of replicas that are ready.
    pub ready: u32,
}

/// One replica.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name of the pod.
    pub name: String,
    /// Phase of the pod: `Running`, `Pending`, …
    pub phase: String,
    /// True if the pod can serve.
    pub ready: bool,
    /// Number of restarts.
    pub restarts: u32,
    /// Reason for its last stop or its waiting, for example `OOMKilled`.
    pub reason: Option<String>,
}

/// Finding of a detector about one series.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// Name of the signal.
    pub signal: String,
    /// Labels of the series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Phase of the anomaly.
    pub phase: Phase,
    /// Direction in which the series differs.
    pub direction: Direction,
    /// Novelty of the sample. 1 is the detector's threshold.
    pub score: f64,
    /// Severity of the anomaly, on the scale of the score.
    pub severity: f64,
    /// Value of the sample. None if there was no sample.
    #[serde(default)]
    pub observed: Option<f64>,
    /// Range that was expected when the anomaly began.
    #[serde(default)]
    pub expected: Option<Expected>,
    /// Reason in one line for a person.
    #[serde(default)]
    pub reason: String,
}

/// Expected range. A missing end is infinite.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Expected {
    /// Lowest expected value.
    pub low: Option<f64>,
    /// Highest expected value.
    pub high: Option<f64>,
}

/// Cause of an incident, as the analyst sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Diagnosis {
    /// Explanation in words.
    pub explanation: String,
    /// Confidence of the analyst, 0 to 1.
    pub confidence: f64,
    /// Evidence that the analyst was shown. Each item is `{"id", "kind", "text"}`.
    pub evidence: Vec<Value>,
    /// Proposals that the analyst would try next.
    pub alternatives: Vec<Value>,
}

impl Incident {
    pub(crate) fn read(incident: &wit::Incident) -> Result<Self, Error> {
        Ok(Self {
            id: incident.id.clone(),
            target: incident.target.clone(),
            snapshot: part("snapshot", &incident.snapshot)?,
            findings: part::<Vec<Finding>>("findings", &incident.findings)?.unwrap_or_default(),
            diagnosis: part("diagnosis", &incident.diagnosis)?,
        })
    }
}

/// Reads one of the JSON parts. Any part may be `null`. A part that can't be read is a fault of the
/// host, not of the author of the parameters.
fn part<T: DeserializeOwned>(name: &str, json: &str) -> Result<Option<T>, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::Failed(format!("the incident's {name} can't be read: {error}")))
}
