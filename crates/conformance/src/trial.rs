//! Parameters of a trial.

use serde_json::Value;

/// Parameters of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Settings of a detector, or parameters of an action.
    pub settings: Value,
    /// True if a detector's series are meant to share knowledge, as compared replicas do. The
    /// verdict on one series may then depend on the others.
    pub series_share: bool,
}
