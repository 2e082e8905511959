//! The saved state of one series for one detector.

use serde_json::Value;
use sha2::{Digest, Sha256};

use anomalyzer_domain::DetectorConfig;
use anomalyzer_domain::{FindingId, Labels, Target, UnixMs};

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// The start of an ongoing anomaly, and its id, which stays equal across versions of the detector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Onset {
    pub(crate) at: UnixMs,
    pub(crate) finding: FindingId,
}

/// The saved state of one series for one detector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedState {
    /// None for the state that the series of a detector share.
    pub(crate) series: Option<(Target, Labels)>,
    /// The detector's name.
    pub(crate) detector: String,
    /// Hash of the settings of the detector.
    pub(crate) settings: Hash,
    /// Version of the plugin that saved the state.
    pub(crate) version: String,
    /// SHA-256 of the bytes of the plugin that saved the state.
    pub(crate) digest: String,
    /// Time of the last sample in the state.
    pub(crate) watermark: UnixMs,
    /// Number of samples in the state, while the series is in warm-up.
    pub(crate) seen: Option<u32>,
    /// The ongoing anomaly of the series.
    pub(crate) onset: Option<Onset>,
    /// The state in the form of the plugin. None if the plugin could not save it.
    pub(crate) saved: Option<Vec<u8>>,
}

/// Returns a hash of the settings. The keys are sorted, so that their order in a file does not
/// matter.
pub(crate) fn settings_hash(config: &DetectorConfig) -> Hash {
    Sha256::digest(Value::Object(config.settings.clone()).to_string()).into()
}
