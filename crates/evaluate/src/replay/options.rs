//! Replacements for a replay, and the source of the plugins.

use std::path::PathBuf;

use anomalyzer_diagnose::OllamaConfig;
use anomalyzer_plugin_host::PluginConfig;
use anomalyzer_policy::Policy;

/// Replacements for a replay. The default uses the recorded parts.
#[derive(Debug, Default)]
pub struct Instead {
    /// Files of other detectors.
    pub detectors: Vec<PathBuf>,
    /// Another analyst.
    pub analyst: Option<Analyst>,
    /// Another policy.
    pub policy: Option<Policy>,
}

/// Analyst that replaces the recorded one.
#[derive(Debug)]
pub enum Analyst {
    /// The rules.
    Rules,
    /// A model that is asked anew.
    Model(OllamaConfig),
}

/// Folders to search for plugins by their digest, and the configuration to load them with.
#[derive(Debug)]
pub struct PluginSource {
    /// Folders with components, which may be in nested folders.
    pub folders: Vec<PathBuf>,
    /// Limits, cache and compiler of the components. Its folder is not used.
    pub config: PluginConfig,
}
