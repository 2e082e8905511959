//! What a plugin has to do beyond what the host checks of each of its answers: the suite behind
//! `anomalyzer plugins test`.
//!
//! It looks at a plugin as the host does, through the public API of [`crate::plugin`], so that what
//! passes here is what the host will see. Its input is fixed: two runs on one file check the same.
//! Speed and memory are figures, not checks.

mod action;
mod detector;
mod report;
mod settings;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use report::{Check, Failure, Figure, Report};

use crate::domain::PluginKind;
use crate::plugin::{PluginInfo, Plugins};

/// How a plugin is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The settings of a detector, the parameters of an action.
    pub settings: Value,
    /// A detector's series are meant to know of one another, as replicas that are compared do: what
    /// one series says may then depend on the others.
    pub series_share: bool,
}

/// Tries a plugin that is loaded. Takes seconds.
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
