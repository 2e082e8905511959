//! Inputs of a detection, sent with the incident so that the detection can be reproduced.

use serde::{Deserialize, Serialize};

use super::{Finding, Parameters, Sample, UnixMs};

/// State and input of a detector when it first reported an anomaly of a series. This is enough to
/// evaluate the series again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayContext {
    /// Finding that the detector reported.
    pub finding: Finding,
    /// Settings of the detector.
    pub settings: Parameters,
    /// Saved state of the detector before the first of the samples. None if it had no state.
    pub memory: Option<WitnessMemory>,
    /// Samples given to the detector after that state, up to the finding.
    pub samples: Vec<Sample>,
    /// True if state and samples are everything that the detector knew. If false, a new evaluation
    /// may have a different result.
    pub whole: bool,
}

/// Saved state of a detector for one series at one time, in the detector's own format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WitnessMemory {
    /// Version of the detector that saved the state.
    pub version: String,
    /// Time of the newest sample that the state includes.
    pub watermark: UnixMs,
    /// Bytes of the state, in Base64.
    pub saved: String,
}
