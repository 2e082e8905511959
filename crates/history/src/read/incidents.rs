//! Queries of incidents and their findings.

use sqlx::QueryBuilder;

use anomalyzer_domain::{Control, Finding, Incident, IncidentId, Target, UnixMs};

use super::reader::HistoryReader;
use crate::{HistoryError, Page};

impl HistoryReader {
    /// Returns the current state of an incident.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, HistoryError> {
        let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM incidents WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        body.map(|body| self.parse(&format!("incident {id}"), &body))
            .transpose()
    }

    /// Counts the control group: incidents on other targets, open at `at`, on which nothing was
    /// changed. Also counts how many of them have cleared since. Considers only the newest 1,000
    /// incidents.
    pub async fn left_alone(&self, at: UnixMs, target: &Target) -> Result<Control, HistoryError> {
        let (left_alone, better): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(cleared_at) FROM (
                 SELECT id, target, opened_at, cleared_at FROM incidents ORDER BY seq DESC LIMIT 1000) AS incident
             WHERE opened_at <= ?1 AND (cleared_at IS NULL OR cleared_at > ?1) AND target != ?2
               AND NOT EXISTS (SELECT 1 FROM decisions JOIN operations ON operations.decision = decisions.id
                               WHERE decisions.incident = incident.id AND operations.outcome IN ('done', 'in_doubt')
                                 AND operations.kind IN ('scale', 'restart', 'roll_back', 'patch', 'http'))",
        )
        .bind(at)
        .bind(target.to_string())
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Control {
            left_alone: count(left_alone),
            better: count(better),
        })
    }

    /// Returns a finding of one of the newest 10,000 incidents, and the incident's target.
    pub async fn finding(&self, id: &str) -> Result<Option<(Target, Finding)>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM (SELECT seq, body FROM incidents ORDER BY seq DESC LIMIT 10000)
             WHERE instr(CAST(body AS TEXT), ",
        );
        query
            .push_bind(format!("\"{id}\""))
            .push(") ORDER BY seq DESC LIMIT 10");
        let incidents: Vec<Incident> = self.bodies(query, "incident").await?;
        Ok(incidents.into_iter().find_map(|incident| {
            let finding = incident
                .findings
                .into_iter()
                .find(|finding| finding.id.as_str() == id)?;
            Some((incident.target, finding))
        }))
    }

    /// Returns all incidents, in the order in which they opened.
    pub async fn all_incidents(&self) -> Result<Vec<Incident>, HistoryError> {
        self.bodies(
            QueryBuilder::new("SELECT seq, body FROM incidents ORDER BY seq ASC"),
            "incident",
        )
        .await
    }

    /// Returns one page of incidents, and the position of the next page if there is one. `open`
    /// limits the list to open incidents (`true`) or to cleared ones (`false`).
    pub async fn incidents(
        &self,
        open: Option<bool>,
        page: Page,
    ) -> Result<(Vec<Incident>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new("SELECT seq, body FROM incidents WHERE ");
        query.push(match open {
            None => "TRUE",
            Some(true) => "cleared_at IS NULL",
            Some(false) => "cleared_at IS NOT NULL",
        });
        page.push(&mut query, "seq");
        self.page(query, page, "incident").await
    }

    /// Returns the open incidents, oldest first.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, HistoryError> {
        let query = "SELECT seq, body FROM incidents WHERE cleared_at IS NULL ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "incident").await
    }
}
