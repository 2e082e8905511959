//! What a solution came of, kept with it so that it can be decided again.

use serde::{Deserialize, Serialize};

use super::{Finding, IncidentEvent, Parameters, Sample, UnixMs};

/// What the analyst was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// The event that asked for a diagnosis.
    pub event: IncidentEvent,
    /// What could be proposed.
    pub offered: Vec<String>,
}

/// What a detector knew when it first said that a series is out: enough to ask it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayContext {
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

/// What a detector knew of a series at one time, in its own form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessMemory {
    /// The version that saved it.
    pub version: String,
    /// The samples up to and with this time are in it.
    pub watermark: UnixMs,
    /// The bytes, in Base64.
    pub saved: String,
}
