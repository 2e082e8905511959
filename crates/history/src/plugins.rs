//! Records of plugin changes, in a separate chain.

use sqlx::SqliteTransaction;

use super::chain::{GENESIS, Hash, Link};
use super::{History, HistoryError, HistoryReader, chain};
use anomalyzer_domain::{PluginChange, UnixMs};

use super::writer::Work;

/// Columns of a plugin change.
#[derive(Debug)]
pub(super) struct PluginColumns {
    plugin: String,
    at: UnixMs,
    kind: &'static str,
    body: Vec<u8>,
}

impl History {
    /// Records a plugin change. Returns when it is durable.
    pub async fn record_plugin(&self, change: &PluginChange) -> Result<i64, HistoryError> {
        let body = serde_json::to_vec(change)
            .map_err(|reason| self.unreadable("the change to record", reason))?;
        let kind = change.kind.as_str();
        let columns = PluginColumns {
            plugin: change.plugin.clone(),
            at: change.at,
            kind,
            body,
        };
        self.writer.write(Work::Plugin(Box::new(columns))).await
    }
}

impl HistoryReader {
    /// Returns the newest changes of a plugin, at most `most`, newest first.
    pub async fn plugin_changes(
        &self,
        plugin: &str,
        most: u32,
    ) -> Result<Vec<PluginChange>, HistoryError> {
        let bodies: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT body FROM plugin_events WHERE plugin = ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(plugin)
        .bind(most)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        bodies
            .iter()
            .map(|body| self.parse(&format!("a change of plugin {plugin}"), body))
            .collect()
    }
}

/// Appends a change to the chain.
pub(super) async fn append(
    transaction: &mut SqliteTransaction<'_>,
    change: &PluginColumns,
) -> sqlx::Result<i64> {
    let last: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM plugin_events ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **transaction)
            .await?;
    let (last, previous): (i64, Hash) = last.map_or((0, GENESIS), |(seq, hash)| {
        (seq, hash.try_into().unwrap_or(GENESIS))
    });
    let PluginColumns {
        plugin,
        at,
        kind,
        body,
    } = change;
    let seq = last + 1;
    let hash = chain::hash(
        &previous,
        &Link {
            seq,
            decision: plugin,
            at: *at,
            kind,
            body,
        },
    );
    sqlx::query(
        "INSERT INTO plugin_events (seq, plugin, at, kind, body, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(seq)
    .bind(plugin)
    .bind(at)
    .bind(kind)
    .bind(body)
    .bind(previous.to_vec())
    .bind(hash.to_vec())
    .execute(&mut **transaction)
    .await?;
    Ok(seq)
}
