//! The saved state of one series for one detector.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::DetectorConfig;
use crate::domain::{FindingId, Labels, Target, UnixMs};

/// SHA-256.
pub(in crate::detect) type Hash = [u8; 32];

/// The start of an ongoing anomaly, and its id, which stays equal across versions of the detector.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct Onset {
    pub(in crate::detect) at: UnixMs,
    pub(in crate::detect) finding: FindingId,
}

/// The saved state of one series for one detector.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct SavedState {
    /// None for the state that the series of a detector share.
    pub(in crate::detect) series: Option<(Target, Labels)>,
    /// The detector's name.
    pub(in crate::detect) detector: String,
    /// Hash of the settings of the detector.
    pub(in crate::detect) settings: Hash,
    /// Version of the plugin that saved the state.
    pub(in crate::detect) version: String,
    /// SHA-256 of the bytes of the plugin that saved the state.
    pub(in crate::detect) digest: String,
    /// Time of the last sample in the state.
    pub(in crate::detect) watermark: UnixMs,
    /// Number of samples in the state, while the series is in warm-up.
    pub(in crate::detect) seen: Option<u32>,
    /// The ongoing anomaly of the series.
    pub(in crate::detect) onset: Option<Onset>,
    /// The state in the form of the plugin. None if the plugin could not save it.
    pub(in crate::detect) saved: Option<Vec<u8>>,
}

/// Returns a hash of the settings. The keys are sorted, so that their order in a file does not
/// matter.
pub(in crate::detect) fn settings_hash(config: &DetectorConfig) -> Hash {
    Sha256::digest(Value::Object(config.settings.clone()).to_string()).into()
}
