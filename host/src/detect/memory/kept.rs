//! What is kept of one series for one detector.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::collect::DetectorConfig;
use crate::domain::{FindingId, Labels, Target, UnixMs};

/// SHA-256.
pub(in crate::detect) type Hash = [u8; 32];

/// When an anomaly began, and the id that it has been known by since, whatever version of the
/// detector found it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct Onset {
    pub(in crate::detect) at: UnixMs,
    pub(in crate::detect) finding: FindingId,
}

/// What is kept of one series for one detector.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::detect) struct Kept {
    /// None for what a detector's series share.
    pub(in crate::detect) series: Option<(Target, Labels)>,
    /// The detector's name.
    pub(in crate::detect) detector: String,
    /// Of the settings that it was opened with.
    pub(in crate::detect) settings: Hash,
    /// The version that saved it.
    pub(in crate::detect) version: String,
    /// The bytes that saved it.
    pub(in crate::detect) digest: String,
    /// The samples up to and with this time are in it.
    pub(in crate::detect) watermark: UnixMs,
    /// How many samples are in it, while the detector wants more before it says anything.
    pub(in crate::detect) seen: Option<u32>,
    /// The anomaly that goes on.
    pub(in crate::detect) onset: Option<Onset>,
    /// What the detector saved; None when it could not.
    pub(in crate::detect) saved: Option<Vec<u8>>,
}

/// Tells settings apart. Keys are sorted, so that their order in a file does not matter.
pub(in crate::detect) fn settings_hash(config: &DetectorConfig) -> Hash {
    Sha256::digest(Value::Object(config.settings.clone()).to_string()).into()
}
