//! Queries of recorded events.

use serde_json::Value;
use sqlx::QueryBuilder;

use anomalyzer_domain::{Decision, DecisionId, UnixMs};

use super::reader::HistoryReader;
use crate::{Filter, HistoryError, Order, Page};

/// Event as it was recorded.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RecordedEvent {
    /// Position in the chain.
    pub seq: i64,
    /// Time of the event, in RFC 3339.
    #[serde(with = "anomalyzer_domain::as_rfc3339")]
    pub at: UnixMs,
    /// Kind of the event: the name of a [`crate::DecisionEventKind`].
    pub kind: String,
    /// State of the decision after the event.
    pub decision: Decision,
    /// Input of this step, if it had one. It is an [`crate::Input`], which is parsed only to
    /// reproduce the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl RecordedEvent {
    /// Creates an event from its columns.
    ///
    /// # Errors
    /// Returns an error if the body is not the stored form of an event.
    pub fn read(seq: i64, at: UnixMs, kind: String, body: &[u8]) -> serde_json::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Stored {
            #[serde(flatten)]
            decision: Decision,
            #[serde(default)]
            input: Option<Value>,
        }
        let Stored { decision, input } = serde_json::from_slice(body)?;
        Ok(Self {
            seq,
            at,
            kind,
            decision,
            input,
        })
    }
}

impl HistoryReader {
    /// Returns at most `limit` events after `seq`, oldest first. The filter applies to the current
    /// state of the decisions.
    pub async fn events_after(
        &self,
        seq: i64,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, at, kind, body FROM decision_events WHERE decision IN (SELECT decisions.id",
        );
        filter.push(&mut query);
        query.push(")");
        Page {
            after: Some(seq),
            limit,
            order: Order::Oldest,
        }
        .push(&mut query, "seq");
        let rows: Vec<(i64, i64, String, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .take(limit as usize)
            .map(|(seq, at, kind, body)| {
                RecordedEvent::read(seq, at, kind, &body)
                    .map_err(|error| self.unreadable(&format!("event {seq}"), &error))
            })
            .collect()
    }

    /// Returns the events of a decision, oldest first.
    pub async fn events_of(&self, id: &DecisionId) -> Result<Vec<RecordedEvent>, HistoryError> {
        let rows: Vec<(i64, i64, String, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, at, kind, body FROM decision_events WHERE decision = ? ORDER BY seq",
        )
        .bind(id.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(seq, at, kind, body)| {
                RecordedEvent::read(seq, at, kind, &body)
                    .map_err(|error| self.unreadable(&format!("event {seq}"), &error))
            })
            .collect()
    }

    /// Returns the `seq` of the last event; 0 if there is none.
    pub async fn last_event(&self) -> Result<i64, HistoryError> {
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM decision_events")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }
}
