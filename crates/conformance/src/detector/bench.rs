//! Bench on which a detector is tried: its host, its settings and its series.

use serde_json::Value;

use super::series::Series;
use crate::report::Failure;
use anomalyzer_plugin_host::{DetectorInstance, PluginError, Plugins};

/// Inputs of a check.
pub(super) struct Bench<'a> {
    pub(super) plugins: &'a Plugins,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) settings: &'a Value,
    pub(super) schema: &'a Value,
    pub(super) series: Vec<Series>,
}

impl Bench<'_> {
    pub(super) fn try_open(&self, settings: &Value) -> Result<DetectorInstance, PluginError> {
        self.plugins.monitor(self.name, settings)
    }

    /// Opens a fresh instance.
    pub(super) fn open(&self) -> Result<DetectorInstance, Failure> {
        self.try_open(self.settings)
            .map_err(|error| Failure::of(&error, format!("opening it with {}", self.settings)))
    }

    /// Returns the linear memory of all open instances in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.plugins.health().memory_bytes
    }
}
