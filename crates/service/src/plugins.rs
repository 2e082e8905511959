//! Loads the plugins after the API answers, watches the plugin folder, and records the changes of
//! plugins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use anomalyzer_domain::PluginChangeKind;
use anomalyzer_history::{History, HistoryError};
use anomalyzer_plugin_host::Plugins;

/// Interval of reading the folder. A file that is unchanged from one reading to the next is taken
/// in.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Number of plugins that load at the same time at the start.
const MAX_CONCURRENT_LOADS: usize = 4;

/// Number of changes of a plugin that are searched for versions that were live under an earlier
/// release.
const MAX_SEARCHED_CHANGES: u32 = 1000;

/// Loads every plugin by itself, so that a slow one does not hold up the others.
pub(super) async fn load(plugins: Plugins, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_LOADS));
    let mut loads = JoinSet::new();
    for pending in plugins.take_pending() {
        let (plugins, shutdown, permits) = (plugins.clone(), shutdown.clone(), permits.clone());
        loads.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let load = move || plugins.load_pending(&pending, &shutdown);
            if let Err(error) = tokio::task::spawn_blocking(load).await {
                tracing::error!(%error, "loading a plugin panicked, which is a defect: please report it");
            }
        });
    }
    while loads.join_next().await.is_some() {}
    // Without the last step the plugins would count as loading for ever.
    let last = tokio::task::spawn_blocking(move || plugins.finish_start(&shutdown)).await;
    if let Err(error) = last {
        tracing::error!(%error, "the end of loading plugins panicked, which is a defect: please report it");
    }
}

/// Records which versions were live under an earlier release, whose store did not tell. The history
/// tells.
///
/// # Errors
/// The history cannot be read.
pub(super) async fn approve_earlier(
    plugins: &Plugins,
    history: &History,
) -> Result<(), HistoryError> {
    for name in plugins.upgraded() {
        let changes = history.plugin_changes(&name, MAX_SEARCHED_CHANGES).await?;
        let went_live = changes.into_iter().filter(|change| {
            matches!(
                change.kind,
                PluginChangeKind::Installed | PluginChangeKind::Reverted
            )
        });
        let live_once: Vec<String> = went_live.filter_map(|change| change.digest).collect();
        plugins.approve_earlier(&name, &live_once);
    }
    Ok(())
}

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
            let cancel = shutdown.clone();
            files.spawn_blocking(move || plugins.take_file_unless(&path, &cancel));
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
