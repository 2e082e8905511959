//! `/api/v1/incidents`: a page of incidents, or one incident.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tracing::instrument;

use anomalyzer_domain::{Incident, IncidentId};
use anomalyzer_history::HistoryReader;

use super::decisions::page;
use super::extract::{Path, Query};
use super::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncidentQuery {
    /// True for open incidents only, false for closed incidents only.
    open: Option<bool>,
    limit: Option<u32>,
    cursor: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Incidents {
    incidents: Vec<Incident>,
    /// Value for `cursor` in the request of the next page. Null on the last page.
    next: Option<String>,
}

/// Lists incidents, newest first.
pub(super) async fn list(
    State(history): State<HistoryReader>,
    Query(query): Query<IncidentQuery>,
) -> Result<Json<Incidents>, Problem> {
    let (incidents, next) = history
        .incidents(query.open, page(query.limit, query.cursor)?)
        .await?;
    Ok(Json(Incidents {
        incidents,
        next: next.map(|next| next.to_string()),
    }))
}

/// Returns one incident.
#[instrument(skip_all, fields(incident.id = %id))]
pub(super) async fn one(
    State(history): State<HistoryReader>,
    Path(id): Path,
) -> Result<Json<Incident>, Problem> {
    let incident = history.incident(&IncidentId::from(id.as_str())).await?;
    incident
        .map(Json)
        .ok_or_else(|| Problem::not_found("incident", &id, "/api/v1/incidents"))
}
