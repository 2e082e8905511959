//! The signals that are watched, and the detectors on them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Meaning;

/// A detector and its settings, as an operator configures them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Name of the plugin.
    pub name: String,
    /// Settings that the plugin's `open` receives. The plugin defines their schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

impl DetectorConfig {
    /// Returns the detector `name` with its default settings.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            settings: Map::new(),
        }
    }
}

/// The part of a configured signal that detection needs.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedSignal {
    /// Unique among the signals.
    pub name: String,
    /// Quantity that the signal measures.
    pub meaning: Meaning,
    /// The detectors on it.
    pub detectors: Vec<DetectorConfig>,
    /// Time after which an ongoing incident with a finding on the signal is diagnosed. `None`
    /// stands for the time of all incidents.
    pub confirm_after: Option<Duration>,
}
