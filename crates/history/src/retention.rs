//! Retention: prunes old events from the history.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{History, HistoryError};
use anomalyzer_domain::{Clock, UnixMs, duration, millis};

/// Time between two checks.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// Fraction of the covered time, as a divisor. If the file is too large, each step prunes this
/// fraction.
const SHARE: i64 = 20;

/// Configuration of the retention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Maximum age of events; older events are pruned. By default no event is pruned.
    #[serde(with = "duration::option")]
    pub keep_for: Option<Duration>,
    /// Maximum size of the file in bytes; beyond it the oldest events are pruned. By default there
    /// is no limit.
    pub max_bytes: Option<u64>,
}

/// Prunes periodically until `shutdown` is cancelled.
pub async fn retain(
    config: RetentionConfig,
    history: History,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    while config.keep_for.is_some() || config.max_bytes.is_some() {
        match retain_once(&config, &history, clock()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "pruned old history events"),
            Err(error) => tracing::error!(%error, "cannot prune old history events; retrying"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(PRUNE_INTERVAL) => {}
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Prunes once and returns the number of pruned events.
///
/// # Errors
/// Returns an error if the history can't be read or written.
pub async fn retain_once(
    config: &RetentionConfig,
    history: &History,
    now: UnixMs,
) -> Result<u64, HistoryError> {
    let mut gone = 0;
    if let Some(keep_for) = config.keep_for {
        let keep_for = millis(keep_for);
        gone += history.cut(now.saturating_sub(keep_for)).await?;
    }
    while let Some(max_bytes) = config.max_bytes
        && history.bytes().await? > max_bytes
        && let Some(oldest) = history.oldest().await?
    {
        let cut = history
            .cut(oldest.saturating_add((now.saturating_sub(oldest) / SHARE).max(1)))
            .await?;
        if cut == 0 {
            // The remaining events are still needed.
            break;
        }
        gone += cut;
    }
    Ok(gone)
}
