//! Pruning of old events in a way that keeps the rest verifiable. Events are removed only from the
//! beginning of the chain, in small steps between the writer's other work. The hash of the last
//! removed event is kept, because the first remaining event follows it. SQLite reuses the freed
//! pages, and nothing is copied.

use super::writer::Work;
use super::{History, HistoryError};
use anomalyzer_domain::UnixMs;

/// Maximum number of events removed in one transaction.
const MAX_STEP: i64 = 200;

impl History {
    /// Prunes events older than `before`, together with the decisions and incidents that no other
    /// event concerns. Stops at the first newer event. Events of an unfinished decision and all
    /// later events stay. Returns the number of pruned events.
    ///
    /// # Errors
    /// Returns an error if the history can't be read or written.
    pub async fn cut(&self, before: UnixMs) -> Result<u64, HistoryError> {
        let mut gone = 0;
        while let Some((first, until)) = self.step(before).await? {
            self.writer.write(Work::Cut { until }).await?;
            gone += u64::try_from(until - first + 1).unwrap_or(0);
        }
        Ok(gone)
    }

    /// Returns the first and last event of the next step.
    async fn step(&self, before: UnixMs) -> Result<Option<(i64, i64)>, HistoryError> {
        let row: (Option<i64>, Option<i64>) = sqlx::query_as(
            "WITH step AS (SELECT seq, at FROM decision_events ORDER BY seq LIMIT ?1),
                  kept AS (SELECT min(events.seq) AS seq FROM decisions
                           JOIN decision_events AS events ON events.decision = decisions.id
                           WHERE decisions.state IN ('proposed', 'held', 'acting', 'verifying'))
             SELECT min(seq), max(seq) FROM step
             WHERE seq < coalesce((SELECT min(seq) FROM step WHERE at >= ?2), 1 << 62)
               AND seq < coalesce((SELECT seq FROM kept), 1 << 62)
               AND seq < (SELECT max(seq) FROM decision_events)",
        )
        .bind(MAX_STEP)
        .bind(before)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.0.zip(row.1))
    }

    /// Returns the number of bytes in use in the file.
    ///
    /// # Errors
    /// Returns an error if the history can't be read.
    pub async fn bytes(&self) -> Result<u64, HistoryError> {
        let (pages, free, size): (i64, i64, i64) = sqlx::query_as(
            "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(u64::try_from((pages - free).saturating_mul(size)).unwrap_or(0))
    }

    /// Returns the time of the oldest event.
    ///
    /// # Errors
    /// Returns an error if the history can't be read.
    pub async fn oldest(&self) -> Result<Option<UnixMs>, HistoryError> {
        sqlx::query_scalar("SELECT at FROM decision_events ORDER BY seq LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }
}
