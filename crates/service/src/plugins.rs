//! Looks after the plugins while the host runs: the folder, the quarantine, and the record of what
//! changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use anomalyzer_history::History;
use anomalyzer_plugin_host::Plugins;

/// How often the folder is looked at: a file that rested from one look to the next is taken in.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until told to stop. Each file is examined by itself, so that one that takes long holds up
/// no other.
pub(super) async fn run(plugins: Plugins, history: Option<History>, shutdown: CancellationToken) {
    let files = TaskTracker::new();
    loop {
        let looking = plugins.clone();
        let due = tokio::task::spawn_blocking(move || looking.look())
            .await
            .unwrap_or_default();
        for path in due {
            let plugins = plugins.clone();
            files.spawn_blocking(move || plugins.take_file(&path));
        }
        record(&plugins, history.as_ref()).await;
        if tokio::time::timeout(EVERY, shutdown.cancelled())
            .await
            .is_ok()
        {
            break;
        }
    }
    files.close();
    // A compilation under way is bounded by its own limits; nobody waits for it at the end.
    let _ = tokio::time::timeout(EVERY, files.wait()).await;
    record(&plugins, history.as_ref()).await;
}

/// Only the server keeps a history; the engine says it in its log.
async fn record(plugins: &Plugins, history: Option<&History>) {
    match history {
        Some(history) => anomalyzer_api::record_plugin_changes(plugins, history).await,
        None => drop(plugins.changes()),
    }
}
