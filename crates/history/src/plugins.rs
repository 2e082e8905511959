//! Records of plugin changes, in a separate chain.

use super::columns::PluginColumns;
use super::writer::Work;
use super::{History, HistoryError, HistoryReader};
use anomalyzer_domain::PluginChange;

impl History {
    /// Records a plugin change. Returns when it is durable.
    pub async fn record_plugin(&self, change: &PluginChange) -> Result<i64, HistoryError> {
        let columns = PluginColumns::of(change)
            .map_err(|reason| self.unreadable("the change to record", &reason))?;
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
