//! Inputs of a diagnosis, stored with the solution so that the diagnosis can be reproduced.

use serde::{Deserialize, Serialize};

use super::IncidentEvent;

/// Input of the analyst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Event that asked for a diagnosis.
    pub event: IncidentEvent,
    /// Names of the actions that the analyst could propose.
    pub offered: Vec<String>,
}
