//! Conformance suite for plugins, behind `anomalyzer plugins test`. It checks requirements beyond
//! those that the host checks of each response.
//!
//! The suite uses a plugin as the host does, through the public API of [`anomalyzer_plugin_host`],
//! so that its results hold for the host. Its input is fixed: two runs on one file make the same
//! checks. Speed and memory are figures, not checks.

mod action;
mod detector;
mod report;
mod settings;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use report::{Check, Failure, Figure, Report};

use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{PluginInfo, Plugins};

/// Parameters of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Settings of a detector, or parameters of an action.
    pub settings: Value,
    /// True if a detector's series are meant to share knowledge, as compared replicas do. The
    /// verdict on one series may then depend on the others.
    pub series_share: bool,
}

/// Tries a loaded plugin. Takes seconds.
pub async fn examine(plugins: &Plugins, plugin: &PluginInfo, trial: &Trial) -> Report {
    match plugin.kind {
        Some(PluginKind::Detector) => {
            let (plugins, known, trial) = (plugins.clone(), plugin.clone(), trial.clone());
            let examined =
                tokio::task::spawn_blocking(move || detector::examine(&plugins, &known, &trial))
                    .await;
            examined.unwrap_or_else(|error| {
                let mut report = Report::new(plugin);
                let failure = Failure::new(
                    error.to_string(),
                    "the suite itself",
                    "report it, with the file",
                );
                report.check("suite", "the suite comes to its end", Err(failure));
                report
            })
        }
        Some(PluginKind::Action) => action::examine(plugins, plugin, trial).await,
        None => Report::new(plugin),
    }
}
