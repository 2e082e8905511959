//! Queries of operations.

use sqlx::{QueryBuilder, Sqlite};

use anomalyzer_domain::{DecisionId, OperationRecord, Target, UnixMs};

use super::reader::HistoryReader;
use crate::HistoryError;

/// Past operation with its context.
#[derive(Clone, Debug, PartialEq)]
pub struct PastOperation {
    /// Id of the decision.
    pub decision: DecisionId,
    /// Name of the action that requested the operation.
    pub solution: String,
    /// Record of the operation.
    pub operation: OperationRecord,
}

impl HistoryReader {
    /// Returns operations that were requested at `from` or later, oldest first. None as `target`
    /// means all targets.
    pub async fn operations_since(
        &self,
        target: Option<&Target>,
        from: UnixMs,
    ) -> Result<Vec<PastOperation>, HistoryError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT decision, solution, body FROM operations WHERE asked_at >= ",
        );
        query.push_bind(from);
        if let Some(target) = target {
            query.push(" AND target = ").push_bind(target.to_string());
        }
        query.push(" ORDER BY asked_at, id");
        let rows: Vec<(String, String, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(decision, solution, body)| {
                let operation = self.parse(&format!("an operation of {decision}"), &body)?;
                Ok(PastOperation {
                    decision: decision.into(),
                    solution,
                    operation,
                })
            })
            .collect()
    }

    /// Counts the operations that are dated after `now`, and returns the date of the last one. They
    /// were recorded while the clock was ahead.
    pub async fn operations_after(
        &self,
        now: UnixMs,
    ) -> Result<Option<(u64, UnixMs)>, HistoryError> {
        let (count, last): (i64, Option<UnixMs>) =
            sqlx::query_as("SELECT count(*), max(asked_at) FROM operations WHERE asked_at > ?")
                .bind(now)
                .fetch_one(&self.pool)
                .await
                .map_err(|error| self.failed(&error))?;
        Ok(last.map(|last| (count.unsigned_abs(), last)))
    }

    /// Counts operations requested from `from` to `to` that changed something or may have: on this
    /// target, in its namespace, and in its cluster. Reads, notices and HTTP requests do not count.
    /// Operations after `to` were recorded while the clock was ahead.
    pub async fn changes_between(
        &self,
        target: &Target,
        from: UnixMs,
        to: UnixMs,
    ) -> Result<[u32; 3], HistoryError> {
        let query = "SELECT count(*) FILTER (WHERE target = ?2), \
             count(*) FILTER (WHERE substr(target, 1, length(?3)) = ?3), \
             count(*) FILTER (WHERE substr(target, 1, length(?4)) = ?4) \
             FROM operations WHERE asked_at BETWEEN ?1 AND ?5 \
             AND kind NOT IN ('inspect', 'read_logs', 'query', 'http', 'notify') \
             AND (outcome IS NULL OR outcome IN ('done', 'in_doubt'))";
        let (on_target, in_namespace, in_cluster): (u32, u32, u32) = sqlx::query_as(query)
            .bind(from)
            .bind(target.to_string())
            .bind(format!("{}/{}/", target.cluster, target.namespace))
            .bind(format!("{}/", target.cluster))
            .bind(to)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok([on_target, in_namespace, in_cluster])
    }
}
