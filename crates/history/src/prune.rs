//! Pruning of old events in a way that keeps the rest verifiable. Events are removed only from the
//! beginning of the chain, in small steps between the writer's other work. The hash of the last
//! removed event is kept, because the first remaining event follows it. SQLite reuses the freed
//! pages, and nothing is copied.

use super::chains::Chain;
use super::cuts::CutReason;
use super::writer::Work;
use super::{History, HistoryError};
use anomalyzer_domain::UnixMs;

/// Maximum number of events removed in one transaction.
const MAX_STEP: i64 = 200;

/// Events to prune.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prune {
    /// Time of the first event to keep.
    pub before: UnixMs,
    /// Present time. Events after it were recorded while the clock was ahead.
    pub now: UnixMs,
    /// Retention that asks for it.
    pub reason: CutReason,
}

impl History {
    /// Prunes old events, together with the decisions and incidents that no other event concerns.
    /// Stops at the first newer event. Events of an unfinished decision or an open incident and all
    /// later events stay. Returns the number of pruned events.
    ///
    /// # Errors
    /// Returns an error if the history can't be read or written.
    pub(super) async fn prune(&self, prune: Prune) -> Result<u64, HistoryError> {
        let mut gone = 0;
        // An incident stays at least as long as a decision about it.
        for (chain, query) in [
            (Chain::Decisions, DECISION_STEP),
            (Chain::Incidents, INCIDENT_STEP),
        ] {
            while let Some((first, until)) = self.step(query, prune).await? {
                let Prune { now, reason, .. } = prune;
                self.writer
                    .write(Work::Cut {
                        chain,
                        until,
                        reason,
                        now,
                    })
                    .await?;
                gone += u64::try_from(until - first + 1).unwrap_or(0);
            }
        }
        Ok(gone)
    }

    /// Returns the first and last event of the next step.
    async fn step(
        &self,
        query: &'static str,
        prune: Prune,
    ) -> Result<Option<(i64, i64)>, HistoryError> {
        let row: (Option<i64>, Option<i64>) = sqlx::query_as(query)
            .bind(MAX_STEP)
            .bind(prune.before)
            .bind(prune.now)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        // No old event was found if the last one is missing.
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

    /// Returns the time of the last event.
    ///
    /// # Errors
    /// Returns an error if the history can't be read.
    pub(super) async fn newest(&self) -> Result<Option<UnixMs>, HistoryError> {
        sqlx::query_scalar("SELECT at FROM decision_events ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Returns the time of the first event that is not after `now`. An event that was recorded
    /// while the clock was ahead says nothing about the age of the history.
    pub(super) async fn oldest(&self, now: UnixMs) -> Result<Option<UnixMs>, HistoryError> {
        sqlx::query_scalar("SELECT at FROM decision_events WHERE at <= ? ORDER BY seq LIMIT 1")
            .bind(now)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }
}

/// Steps end with an old event. Events of the future, which were recorded while the clock was
/// ahead, do not end a step before the old events that follow them.
const DECISION_STEP: &str = "
    WITH step AS (SELECT seq, at FROM decision_events ORDER BY seq LIMIT ?1),
         kept AS (SELECT min(events.seq) AS seq FROM decisions
                  JOIN decision_events AS events ON events.decision = decisions.id
                  WHERE decisions.state IN ('proposed', 'held', 'acting', 'verifying'))
    SELECT (SELECT min(seq) FROM step), max(seq) FROM step
    WHERE at < ?2
      AND seq < coalesce((SELECT min(seq) FROM step WHERE at >= ?2 AND at <= ?3), 1 << 62)
      AND seq < coalesce((SELECT seq FROM kept), 1 << 62)
      AND seq < (SELECT max(seq) FROM decision_events)";

const INCIDENT_STEP: &str = "
    WITH step AS (SELECT seq, incident, at FROM incident_events ORDER BY seq LIMIT ?1),
         kept AS (SELECT min(step.seq) AS seq FROM step JOIN incidents ON incidents.id = step.incident
                  WHERE incidents.cleared_at IS NULL
                     OR EXISTS (SELECT 1 FROM decisions WHERE decisions.incident = step.incident))
    SELECT (SELECT min(seq) FROM step), max(seq) FROM step
    WHERE at < ?2
      AND seq < coalesce((SELECT min(seq) FROM step WHERE at >= ?2 AND at <= ?3), 1 << 62)
      AND seq < coalesce((SELECT seq FROM kept), 1 << 62)
      AND seq < (SELECT max(seq) FROM incident_events)";
