//! State behind the plugin routes, and the JSON form of a plugin.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Allowance, Grant, PluginChange, PluginKind};
use anomalyzer_plugin_host::{ManageError, PluginView, Plugins};
use anomalyzer_policy::grants::in_force;

use super::problem::Problem;
use super::upload_queue::UploadQueue;

/// Bytes that a multipart body has besides the file, at most.
const MULTIPART_OVERHEAD_BYTES: usize = 64 << 10;

/// State behind the plugin routes.
#[derive(Clone)]
pub(super) struct PluginsState {
    pub plugins: Plugins,
    /// Grants of the configuration.
    configured: Arc<[Grant]>,
    /// Detectors that a configured signal names.
    pub watched_by: Arc<[String]>,
    /// Places of uploads that are received or examined at the same time.
    pub uploads: UploadQueue,
}

impl PluginsState {
    pub(super) fn new(plugins: Plugins, configured: Vec<Grant>, watched_by: Vec<String>) -> Self {
        let quota = plugins.candidate_quota();
        Self {
            plugins,
            configured: configured.into(),
            watched_by: watched_by.into(),
            uploads: UploadQueue::new(quota.uploads_per_uploader),
        }
    }

    /// Returns the maximum length of a body with a component, in bytes.
    pub(super) fn max_body_bytes(&self) -> usize {
        self.plugins
            .most_bytes()
            .saturating_add(MULTIPART_OVERHEAD_BYTES)
    }

    /// Returns a plugin.
    ///
    /// # Errors
    /// Returns a problem if there is no such plugin, or if nobody knows while plugins are loading.
    pub(super) fn find(&self, name: &str) -> Result<PluginView, Problem> {
        match self.plugins.view(name) {
            Some(view) => Ok(view),
            None if self.plugins.loading() > 0 => Err(Problem::loading()),
            None => Err(ManageError::NotFound(name.to_owned()).into()),
        }
    }

    /// Returns the grants in force for a plugin.
    pub(super) fn granted(&self, name: &str) -> Vec<Allowance> {
        let set = self
            .plugins
            .standing(name)
            .and_then(|(_, grants, _)| grants);
        in_force(name, set, &self.configured)
    }

    /// Returns the JSON form of a plugin.
    pub(super) fn shown(&self, view: &PluginView) -> ShownPlugin {
        let is_action = view.info.kind == Some(PluginKind::Action);
        ShownPlugin {
            granted: if is_action {
                self.granted(&view.info.name)
            } else {
                Vec::new()
            },
            view: view.clone(),
        }
    }
}

/// A plugin as the API shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownPlugin {
    /// The plugin itself.
    #[serde(flatten)]
    pub view: PluginView,
    /// Grants in force: those set at run time, or else those of the configuration. The plugin can
    /// do what both these and its needs allow.
    pub granted: Vec<Allowance>,
}

/// A plugin with its past, as `/api/v1/plugins/{name}` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginDetail {
    /// The plugin.
    #[serde(flatten)]
    pub shown: ShownPlugin,
    /// Changes of the plugin, newest first. Answers to a change of the plugin leave them out.
    #[serde(default)]
    pub changes: Vec<PluginChange>,
}
