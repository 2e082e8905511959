//! What is kept of one series for one detector.

use serde_json::Value;
use sha2::{Digest, Sha256};

use anomalyzer_collect::DetectorConfig;
use anomalyzer_domain::{FindingId, Labels, Target, UnixMs};

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// When an anomaly began, and the id that it has been known by since, whatever version of the
/// detector found it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Onset {
    pub(crate) at: UnixMs,
    pub(crate) finding: FindingId,
}

/// What is kept of one series for one detector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// None for what a detector's series share.
    pub(crate) series: Option<(Target, Labels)>,
    /// The detector's name.
    pub(crate) detector: String,
    /// Of the settings that it was opened with.
    pub(crate) settings: Hash,
    /// The version that saved it.
    pub(crate) version: String,
    /// The bytes that saved it.
    pub(crate) digest: String,
    /// The samples up to and with this time are in it.
    pub(crate) watermark: UnixMs,
    /// How many samples are in it, while the detector wants more before it says anything.
    pub(crate) seen: Option<u32>,
    /// The anomaly that goes on.
    pub(crate) onset: Option<Onset>,
    /// What the detector saved; None when it could not.
    pub(crate) saved: Option<Vec<u8>>,
}

/// Tells settings apart. Keys are sorted, so that their order in a file does not matter.
pub(crate) fn settings_hash(config: &DetectorConfig) -> Hash {
    Sha256::digest(Value::Object(config.settings.clone()).to_string()).into()
}
