//! Inputs of a diagnosis, stored with the solution so that the diagnosis can be reproduced.

use serde::{Deserialize, Serialize};

use super::{Finding, IncidentEvent, Parameters, Sample, UnixMs};

/// Input of the analyst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Event that asked for a diagnosis.
    pub event: IncidentEvent,
    /// Names of the actions that the analyst could propose.
    pub offered: Vec<String>,
}

/// State and input of a detector when it first reported an anomaly of a series. This is enough to
/// evaluate the series again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// What it said.
    pub finding: Finding,
    /// How it was set.
    pub settings: Parameters,
    /// What it knew before the first of the samples. None: nothing.
    pub memory: Option<WitnessMemory>,
    /// What it was shown since, up to the finding.
    pub samples: Vec<Sample>,
    /// Whether that is all that it knew. If not, it may say something else when it is asked again.
    pub whole: bool,
}

/// Saved state of a detector for one series at one time, in the detector's own format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessMemory {
    /// The version that saved it.
    pub version: String,
    /// The samples up to and with this time are in it.
    pub watermark: UnixMs,
    /// The bytes, in Base64.
    pub saved: String,
}
