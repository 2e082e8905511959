//! Letting go of what is old, so that the rest can still be verified: events go from the beginning
//! of the chain only, in small steps between the writer's other work, and the hash on which the
//! first one left follows is kept. Freed pages are used again; nothing is copied.

use sqlx::SqliteTransaction;

use super::{History, HistoryError, Work};
use crate::domain::UnixMs;

/// Most events that go in one transaction.
const STEP: i64 = 200;

impl History {
    /// Lets go of events older than that, as far as all before them are, and of the decisions and
    /// incidents that only they are about. Decisions that have not ended stay, and with them all
    /// that is newer. Answers how many events went.
    ///
    /// # Errors
    /// The history can't be read or written.
    pub async fn cut(&self, before: UnixMs) -> Result<u64, HistoryError> {
        let mut gone = 0;
        while let Some((first, until)) = self.step(before).await? {
            self.writer.write(Work::Cut { until }).await?;
            gone += u64::try_from(until - first + 1).unwrap_or(0);
        }
        Ok(gone)
    }

    /// What can go next: from which event to which.
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
        .bind(STEP)
        .bind(before)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(row.0.zip(row.1))
    }

    /// Bytes of the file that are in use.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn bytes(&self) -> Result<u64, HistoryError> {
        let (pages, free, size): (i64, i64, i64) = sqlx::query_as(
            "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        Ok(u64::try_from((pages - free).saturating_mul(size)).unwrap_or(0))
    }

    /// When the oldest event was.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn oldest(&self) -> Result<Option<UnixMs>, HistoryError> {
        sqlx::query_scalar("SELECT at FROM decision_events ORDER BY seq LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }
}

/// Lets go of everything up to that event.
pub(super) async fn apply(
    transaction: &mut SqliteTransaction<'_>,
    until: i64,
    now: UnixMs,
) -> sqlx::Result<i64> {
    sqlx::query(
        "INSERT INTO cuts (seq, hash, at, cut_at) SELECT seq, hash, at, ?2 FROM decision_events WHERE seq = ?1",
    )
    .bind(until)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    let over = "SELECT DISTINCT decision FROM decision_events AS old WHERE seq <= ?1
                AND NOT EXISTS (SELECT 1 FROM decision_events AS newer WHERE newer.decision = old.decision AND newer.seq > ?1)";
    for what in [
        format!("DELETE FROM decision_text WHERE rowid IN (SELECT seq FROM decisions WHERE id IN ({over}))"),
        format!("DELETE FROM operations WHERE decision IN ({over})"),
        format!(
            "DELETE FROM incidents WHERE cleared_at IS NOT NULL
             AND id IN (SELECT incident FROM decisions WHERE id IN ({over}))
             AND NOT EXISTS (SELECT 1 FROM decisions WHERE incident = incidents.id AND id NOT IN ({over}))"
        ),
        format!("DELETE FROM decisions WHERE id IN ({over})"),
        "DELETE FROM decision_events WHERE seq <= ?1".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(what)).bind(until).execute(&mut **transaction).await?;
    }
    Ok(until)
}
