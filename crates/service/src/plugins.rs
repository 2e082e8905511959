//! Watches the plugin folder, and records the changes of plugins.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use anomalyzer_history::History;
use anomalyzer_plugin_host::Plugins;

/// Interval of reading the folder. A file that is unchanged from one reading to the next is taken
/// in.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Watches the folder until the shutdown. Each file is examined by itself, so that a slow one does
/// not hold up the others.
pub(super) async fn run(plugins: Plugins, history: Option<History>, shutdown: CancellationToken) {
    let files = TaskTracker::new();
    loop {
        let polled = plugins.clone();
        let due = tokio::task::spawn_blocking(move || polled.look())
            .await
            .unwrap_or_default();
        for path in due {
            let plugins = plugins.clone();
            files.spawn_blocking(move || plugins.take_file(&path));
        }
        record(&plugins, history.as_ref()).await;
        if tokio::time::timeout(POLL_INTERVAL, shutdown.cancelled())
            .await
            .is_ok()
        {
            break;
        }
    }
    files.close();
    // A compilation has limits of its own, and the shutdown does not wait for it.
    let _ = tokio::time::timeout(POLL_INTERVAL, files.wait()).await;
    record(&plugins, history.as_ref()).await;
}

/// Records the changes of plugins. The engine has no history: its log tells the changes.
async fn record(plugins: &Plugins, history: Option<&History>) {
    match history {
        Some(history) => anomalyzer_api::record_plugin_changes(plugins, history).await,
        None => drop(plugins.changes()),
    }
}
