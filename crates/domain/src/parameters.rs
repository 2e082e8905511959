//! Named values: parameters of a solution, settings of a detector.

use serde_json::{Map, Value};

/// Parameters of a solution.
pub type Parameters = Map<String, Value>;
