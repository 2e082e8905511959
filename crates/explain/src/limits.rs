//! Limits of an explanation.

use serde::{Deserialize, Serialize};

/// Bounds of the work and of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Maximum number of windows since the onset. Later windows are ignored: the first ones show
    /// where the loss began.
    pub windows: usize,
    /// Maximum number of calls between two incidents of one group.
    pub hops: usize,
    /// Maximum number of entities that are visited to join one incident with others.
    pub visited: usize,
    /// Maximum number of candidates whose causes are examined.
    pub candidates: usize,
    /// Maximum number of groups. The incidents beyond are reported alone.
    pub groups: usize,
    /// Maximum number of entries in each list of a group.
    pub listed: usize,
    /// Maximum length of a text from outside, in bytes.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            windows: 32,
            hops: 4,
            visited: 256,
            candidates: 8,
            groups: 32,
            listed: 16,
            text: 200,
        }
    }
}
