//! `/api/v1/incidents`: pages, or one.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use anomalyzer_domain::{Incident, IncidentId};
use anomalyzer_history::History;

use super::Problem;
use super::decisions::page;
use super::extract::{Path, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only those that go on, or only those that are over.
    open: Option<bool>,
    limit: Option<u32>,
    cursor: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Incidents {
    incidents: Vec<Incident>,
    /// Where the next page begins: to be given as `cursor`. Null on the last page.
    next: Option<String>,
}

/// Newest first.
pub(super) async fn list(
    State(history): State<History>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Incidents>, Problem> {
    let (incidents, next) = history
        .incidents(wanted.open, page(wanted.limit, wanted.cursor)?)
        .await?;
    Ok(Json(Incidents {
        incidents,
        next: next.map(|next| next.to_string()),
    }))
}

/// One incident.
pub(super) async fn one(
    State(history): State<History>,
    Path(id): Path,
) -> Result<Json<Incident>, Problem> {
    let incident = history.incident(&IncidentId::from(id.as_str())).await?;
    incident
        .map(Json)
        .ok_or_else(|| Problem::not_found("incident", &id, "/api/v1/incidents"))
}
