//! The suite: tries a plugin with the checks of its kind.

use super::{Failure, Report, Trial, action, detector};
use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{PluginInfo, Plugins};

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
