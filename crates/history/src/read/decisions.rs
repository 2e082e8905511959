//! Queries of decisions.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::QueryBuilder;

use anomalyzer_domain::{Decision, DecisionId, UnixMs};

use super::reader::HistoryReader;
use crate::{Filter, HistoryError, Page};

impl HistoryReader {
    /// Returns the current state of a decision.
    pub async fn decision(&self, id: &DecisionId) -> Result<Option<Decision>, HistoryError> {
        let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM decisions WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        body.map(|body| self.parse(&format!("decision {id}"), &body))
            .transpose()
    }

    /// Returns one page of decisions, and the position of the next page if there is one.
    pub async fn decisions(
        &self,
        filter: &Filter,
        page: Page,
    ) -> Result<(Vec<Decision>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new("SELECT decisions.seq, decisions.body");
        let column = filter.push(&mut query);
        page.push(&mut query, column);
        self.page(query, page, "decision").await
    }

    /// Returns a stream of all matching decisions. It reads page by page, so that a slow consumer
    /// does not block others.
    pub fn all_decisions(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxStream<'static, Result<Decision, HistoryError>> {
        let reader = self.clone();
        stream::try_unfold(Some(page), move |page| {
            let (reader, filter) = (reader.clone(), filter.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let (decisions, next) = reader.decisions(&filter, page).await?;
                let next = next.map(|after| Page {
                    after: Some(after),
                    ..page
                });
                Ok(Some((stream::iter(decisions.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// Returns decisions that are not finished, including those that wait for approval, oldest
    /// first. They are resumed after a restart.
    pub async fn unfinished(&self) -> Result<Vec<Decision>, HistoryError> {
        let query = "SELECT seq, body FROM decisions WHERE state IN ('proposed', 'held', 'acting', 'verifying') ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "decision").await
    }

    /// Returns the last decision of each open incident if that decision has ended. Another decision
    /// may have to follow.
    pub async fn last_of_open_incidents(&self) -> Result<Vec<Decision>, HistoryError> {
        let query = "SELECT seq, body FROM decisions WHERE state NOT IN ('proposed', 'held', 'acting', 'verifying') AND seq IN ( \
             SELECT max(later.seq) FROM incidents JOIN decisions AS later ON later.incident = incidents.id \
             WHERE incidents.cleared_at IS NULL GROUP BY incidents.id) ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "decision").await
    }

    /// Returns one page of the decisions about open incidents, and the position of the next page if
    /// there is one.
    pub async fn decisions_of_open_incidents(
        &self,
        page: Page,
    ) -> Result<(Vec<Decision>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM decisions WHERE incident IN (SELECT id FROM incidents WHERE cleared_at IS NULL)",
        );
        page.push(&mut query, "seq");
        self.page(query, page, "decision").await
    }

    /// Returns the solution of the newest decision with one of these two solutions, in the order of
    /// the record. Times may lie if the clock was wrong.
    pub async fn newest_of(&self, solutions: [&str; 2]) -> Result<Option<String>, HistoryError> {
        sqlx::query_scalar(
            "SELECT solution FROM decisions WHERE solution IN (?, ?) ORDER BY seq DESC LIMIT 1",
        )
        .bind(solutions[0])
        .bind(solutions[1])
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// Returns finished decisions that scaled or patched a target at `from` or later, newest first.
    /// A patch may scale too.
    pub async fn scaled_since(&self, from: UnixMs) -> Result<Vec<Decision>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM decisions WHERE state = 'done' AND id IN (SELECT decision FROM operations \
             WHERE kind IN ('scale', 'patch') AND outcome = 'done' AND asked_at >= ",
        );
        query.push_bind(from).push(") ORDER BY seq DESC");
        self.bodies(query, "decision").await
    }
}
