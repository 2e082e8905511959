//! The heads of the chains, told now and then to places that whoever can edit the file cannot
//! write.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Anchor, Chain, HistoryError, HistoryReader};
use crate::bus::Bus;
use crate::common::http_client;
use crate::domain::{Clock, Record, Topic, duration, rfc3339};

/// How long a webhook may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the heads of the chains are told, and how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnchorConfig {
    /// How often, if something was recorded since.
    #[serde(with = "duration")]
    pub every: Duration,
    /// Lines are added to this file: on another disk, or one that can only be added to.
    pub file: Option<PathBuf>,
    /// They are sent there, as JSON.
    pub webhook: Option<String>,
    /// They are published on `decisions-topic`.
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
    /// The last event of each chain that has one.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn heads(&self) -> Result<Vec<Anchor>, HistoryError> {
        let mut heads = Vec::new();
        for (chain, query) in [
            (
                Chain::Decisions,
                "SELECT seq, hash FROM decision_events ORDER BY seq DESC LIMIT 1",
            ),
            (
                Chain::Plugins,
                "SELECT seq, hash FROM plugin_events ORDER BY seq DESC LIMIT 1",
            ),
        ] {
            let head: Option<(i64, Vec<u8>)> = sqlx::query_as(query)
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| self.failed(&error))?;
            heads.extend(head.map(|(seq, hash)| Anchor {
                chain,
                seq,
                hash: hex::encode(hash),
            }));
        }
        Ok(heads)
    }
}

/// Tells the heads until told to stop, and once more then. What can't be told is told with the next
/// ones, which vouch for it too.
pub async fn anchor(
    config: AnchorConfig,
    history: HistoryReader,
    bus: Arc<dyn Bus>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut told = Vec::new();
    while !config.is_idle() {
        match history.heads().await {
            Ok(heads) if heads != told => {
                if let Err(error) = tell(&config, &heads, bus.as_ref(), &rfc3339(clock())).await {
                    tracing::error!(%error, "the heads of the history's chains could not be anchored everywhere");
                } else {
                    told = heads;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "the heads of the history's chains can't be read")
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

/// Tells them everywhere; the error is of the last place that failed.
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
        let sent = match http_client::client(PATIENCE) {
            Ok(client) => client
                .post(url)
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
