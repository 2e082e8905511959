//! Plugin changes on their way into the history.

use anomalyzer_history::History;
use anomalyzer_plugin_host::Plugins;

/// Records the plugin changes since the last call. A change that cannot be written stays queued for
/// the next call.
pub async fn record_plugin_changes(plugins: &Plugins, history: &History) {
    let mut changes = plugins.changes().into_iter();
    while let Some(change) = changes.next() {
        if let Err(error) = history.record_plugin(&change).await {
            tracing::error!(
                plugin = change.plugin, kind = change.kind.as_str(), %error,
                "cannot record a plugin change; trying again"
            );
            plugins.put_back(std::iter::once(change).chain(changes).collect());
            return;
        }
    }
}
