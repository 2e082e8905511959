//! Anchoring: periodically writes the heads of the chains to places that an editor of the history
//! file cannot write.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::chains::{Anchor, Chain};
use super::{HistoryError, HistoryReader};
use anomalyzer_bus::Bus;
use anomalyzer_common::http_client;
use anomalyzer_common::secret_url::SecretUrl;
use anomalyzer_domain::{Clock, Record, Topic, duration, rfc3339};

/// Timeout of a webhook request.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Destinations of the anchors and the interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnchorConfig {
    /// Interval between two anchors. No anchor is written if nothing was recorded since the last
    /// one.
    #[serde(with = "duration")]
    pub every: Duration,
    /// File to which anchors are appended. It should be on another disk or be append-only.
    pub file: Option<PathBuf>,
    /// URL to which anchors are sent as JSON.
    pub webhook: Option<SecretUrl>,
    /// True to publish anchors on `decisions-topic`.
    pub topic: bool,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(600),
            file: None,
            webhook: None,
            topic: false,
        }
    }
}

impl AnchorConfig {
    fn is_idle(&self) -> bool {
        self.file.is_none() && self.webhook.is_none() && !self.topic
    }
}

impl HistoryReader {
    /// Returns the last event of each chain that is not empty.
    ///
    /// # Errors
    /// Returns an error if the history can't be read.
    pub async fn heads(&self) -> Result<Vec<Anchor>, HistoryError> {
        read_heads(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }
}

/// Reads the last event of each chain that is not empty.
pub(super) async fn read_heads(
    executor: impl sqlx::SqliteExecutor<'_>,
) -> sqlx::Result<Vec<Anchor>> {
    let of = |chain: Chain| {
        format!(
            "SELECT * FROM (SELECT '{}', seq, hash FROM {} ORDER BY seq DESC LIMIT 1)",
            chain.as_str(),
            chain.table()
        )
    };
    let query = Chain::ALL.map(of).join(" UNION ALL ");
    let heads: Vec<(String, i64, Vec<u8>)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .fetch_all(executor)
        .await?;
    let heads = heads.into_iter().filter_map(|(name, seq, hash)| {
        let chain = Chain::ALL
            .into_iter()
            .find(|chain| chain.as_str() == name)?;
        Some(Anchor {
            chain,
            seq,
            hash: hex::encode(hash),
        })
    });
    Ok(heads.collect())
}

/// Writes the heads periodically until `shutdown` is cancelled, and one last time after that. After
/// a failure the next heads are written instead. They also cover the events before them.
pub async fn anchor(
    config: AnchorConfig,
    history: HistoryReader,
    bus: Arc<dyn Bus>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut anchored = Vec::new();
    while !config.is_idle() {
        match history.heads().await {
            Ok(heads) if heads != anchored => {
                if let Err(error) = tell(&config, &heads, bus.as_ref(), &rfc3339(clock())).await {
                    tracing::error!(%error, "cannot write the chain heads to every anchor");
                } else {
                    anchored = heads;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "cannot read the chain heads from the history file");
            }
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(config.every.max(Duration::from_secs(1))) => {}
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Writes the heads to all destinations. The error comes from the last destination that failed.
async fn tell(
    config: &AnchorConfig,
    heads: &[Anchor],
    bus: &dyn Bus,
    at: &str,
) -> Result<(), String> {
    let mut result = Ok(());
    if let Some(file) = &config.file {
        let lines: String = heads
            .iter()
            .map(|head| serde_json::to_string(head).unwrap_or_default() + "\n")
            .collect();
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => result = Err(format!("{}: {error}", file.display())),
            Err(error) => result = Err(error.to_string()),
        }
    }
    let body = json!({ "at": at, "anchors": heads });
    if let Some(url) = &config.webhook {
        let sent = match http_client::client(DELIVERY_TIMEOUT) {
            Ok(client) => client
                .post(url.reveal())
                .json(&body)
                .send()
                .await
                .map_err(http_client::reason),
            Err(error) => Err(error.to_string()),
        };
        match sent {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => result = Err(format!("{url} answered {}", answer.status())),
            Err(error) => result = Err(format!("{url}: {error}")),
        }
    }
    if config.topic {
        let headers = vec![
            ("content-type".into(), "application/json".into()),
            ("kind".into(), "anchor".into()),
        ];
        let record = Record {
            key: None,
            headers,
            payload: body.to_string().into(),
        };
        if let Err(error) = bus.publish(Topic::Decisions, record).await {
            result = Err(error.to_string());
        }
    }
    result
}
