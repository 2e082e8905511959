//! The incident as an action is shown it. Read leniently: fields that this version does not know
//! are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::bindings::action::exports::anomalyzer::plugin::action as wit;
use crate::{Direction, Error, Phase, Target};

/// The findings about one target that belong together, or a person's request, which has none.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub target: Option<Target>,
    /// What the target looked like when the solution was allowed.
    pub snapshot: Option<Snapshot>,
    /// The newest finding of each series.
    pub findings: Vec<Finding>,
    /// Why the analyst thinks it happens.
    pub diagnosis: Option<Diagnosis>,
}

/// What a target looked like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// None for what has no replicas.
    pub replicas: Option<Replicas>,
    /// Whether a rollout is under way.
    pub rolling_out: bool,
    /// Replicas, one by one.
    pub pods: Vec<Pod>,
    /// Recent events, newest last, one line each.
    pub events: Vec<String>,
}

/// Replicas of a target.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Replicas {
    /// How many there should be.
    pub desired: u32,
    /// How many are ready.
    pub ready: u32,
}

/// One replica.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// `Running`, `Pending`, …
    pub phase: String,
    /// Whether it serves.
    pub ready: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// Why it last stopped or what it waits for, as `OOMKilled`.
    pub reason: Option<String>,
}

/// What a detector said of one series.
#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    /// The signal.
    pub signal: String,
    /// The series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where in its life the anomaly is.
    pub phase: Phase,
    /// How the series differs.
    pub direction: Direction,
    /// How new it is; 1 is the detector's threshold.
    pub score: f64,
    /// How bad it is, on the same scale.
    pub severity: f64,
    /// The value seen. None when there was none.
    #[serde(default)]
    pub observed: Option<f64>,
    /// What was expected when it began.
    #[serde(default)]
    pub expected: Option<Expected>,
    /// One line for a person.
    #[serde(default)]
    pub reason: String,
}

/// The expected range; an end that is missing is infinite.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Expected {
    /// Lowest expected value.
    pub low: Option<f64>,
    /// Highest expected value.
    pub high: Option<f64>,
}

/// Why the analyst thinks it happens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Diagnosis {
    /// In words.
    pub explanation: String,
    /// 0 to 1.
    pub confidence: f64,
    /// What it was shown: `{"id", "kind", "text"}` each.
    pub evidence: Vec<Value>,
    /// What it would do next.
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

/// One of the JSON parts, any of which may be `null`. What can't be read is the host's fault, not
/// that of who wrote the parameters.
fn part<T: DeserializeOwned>(name: &str, json: &str) -> Result<Option<T>, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::Failed(format!("the incident's {name} can't be read: {error}")))
}
