//! Part of the writer task that reads the log of record, and takes it over.

use anomalyzer_bus::LogOfRecord;
use sqlx::Connection;

use super::failed::Failed;
use super::task::WriterTask;
use super::work::MAX_GROUP;
use crate::HistoryError;
use crate::chains::Chain;
use crate::log::Entry;
use crate::rows::{append, last_link, read_up_to};

impl WriterTask {
    /// Stops accepting events until this process takes the log of record over again.
    pub(super) fn stand_by(&self) {
        if self.leads.send_replace(false) {
            tracing::warn!(
                "standing by: this server may no longer be the writer of the log of record"
            );
        }
    }

    /// Fences the previous writer of the log and reads its events.
    pub(super) async fn take_over(&mut self) -> Result<(), HistoryError> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        self.leads.send_replace(false);
        let taken = log.take_over().await;
        taken.map_err(|error| self.explain(Failed::Log(error)))?;
        self.catch_up(usize::MAX).await?;
        self.leads.send_replace(true);
        tracing::info!("this server is now the writer of the log of record");
        Ok(())
    }

    /// Imports events of the log that are not in the file, at most `groups` groups. Returns true if
    /// the end of the log was reached.
    pub(super) async fn catch_up(&mut self, groups: usize) -> Result<bool, HistoryError> {
        let Some(mut log) = self.log.take() else {
            return Ok(true);
        };
        let mut result = Ok(false);
        for _ in 0..groups {
            result = self.read_on(log.as_mut()).await;
            if !matches!(result, Ok(false)) {
                break;
            }
        }
        self.log = Some(log);
        if result.is_err() {
            self.connection = None;
        }
        result.map_err(|error| self.explain(error))
    }

    /// Imports one group of events from the log. Returns true if the end of the log was reached.
    async fn read_on(&mut self, log: &mut dyn LogOfRecord) -> Result<bool, Failed> {
        let next: Option<i64> = sqlx::query_scalar("SELECT next FROM read_up_to WHERE topic = ?")
            .bind(log.name())
            .fetch_optional(self.connected().await?)
            .await?;
        let (page, all) = log.read(next.unwrap_or(0), MAX_GROUP).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        let mut transaction = self
            .connected()
            .await?
            .begin_with("BEGIN IMMEDIATE")
            .await?;
        let mut head = last_link(&mut transaction, Chain::Decisions).await?;
        let mut taken = Vec::new();
        for delivery in &page {
            let Some(entry) = Entry::decode(delivery) else {
                continue;
            };
            if let Some(event) = entry.to_append(&mut transaction, head).await? {
                head = append(&mut transaction, (entry.seq - 1, entry.previous), &event).await?;
                taken.push(event.decision);
            }
        }
        read_up_to(&mut transaction, log.name(), last.offset + 1).await?;
        transaction.commit().await?;
        for decision in taken {
            // Sending fails if there are no subscribers.
            let _ = self.decisions.send(decision);
        }
        Ok(all)
    }
}
