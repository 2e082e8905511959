//! Steps of a replay, and their comparison with the record.

use serde::Serialize;

/// Stage of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Finding of a detector on a series.
    Detect,
    /// Proposal of the analyst.
    Diagnose,
    /// Verdict of the guard.
    Guard,
}

/// Result of the comparison with the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Came {
    /// Result that equals the record byte by byte.
    Same,
    /// Result that differs from the record.
    Different {
        /// Recorded result.
        was: String,
        /// Result of the replay.
        is: String,
    },
    /// Result that cannot be determined.
    Unknown {
        /// Reason.
        why: String,
    },
}

impl Came {
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }

    /// Compares the texts of both results.
    pub(super) fn of(was: String, is: String) -> Self {
        if was == is {
            Self::Same
        } else {
            Self::Different { was, is }
        }
    }
}

/// One replayed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Stage of the step.
    pub stage: Stage,
    /// Subject of the step.
    pub what: String,
    /// Result of the comparison.
    #[serde(flatten)]
    pub came: Came,
}

/// Serializes a value as JSON for comparison and display. Our own types never fail to serialize.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
