//! Lets go of what the record is not to keep.

use std::convert::Infallible;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{History, HistoryError};
use crate::domain::duration;
use crate::domain::{Clock, UnixMs, millis};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(600);
/// When it is too large, so much of the time that it covers goes at once.
const SHARE: i64 = 20;

/// How long the record is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// What is older goes. By default nothing does.
    #[serde(with = "duration::option")]
    pub keep_for: Option<Duration>,
    /// What is oldest goes while the file uses more, in bytes. By default it may grow.
    pub max_bytes: Option<u64>,
}

/// Looks now and then, until told to stop.
pub async fn retain(
    config: RetentionConfig,
    history: History,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    while config.keep_for.is_some() || config.max_bytes.is_some() {
        match retain_once(&config, &history, clock()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "events were old and let go of"),
            Err(error) => tracing::error!(%error, "what is old can't be let go of; trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Looks once. Answers how many events went.
///
/// # Errors
/// The history can't be read or written.
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
            // What is left is needed.
            break;
        }
        gone += cut;
    }
    Ok(gone)
}
