//! `/api/v1/feedback`: people's votes on findings.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::instrument;

use super::audit_entry::record_admin_event;
use super::auth::Caller;
use super::extract::{self, Path};
use super::limits::MAX_REASON_BYTES;
use super::problem::Problem;
use super::state::ApiState;
use anomalyzer_detect::{Feedback, FeedbackError, Judged, Vote};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedbackBody {
    /// True if the finding was useful, false if it was noise.
    useful: bool,
    #[serde(default)]
    why: String,
}

/// Lists all votes, with the thresholds that follow from them.
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "feedback": feedback(&state)?.all() })))
}

/// Records a vote on a finding.
#[instrument(skip_all, fields(finding.id = %id))]
pub(super) async fn add(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
    extract::Json(body): extract::Json<FeedbackBody>,
) -> Result<Json<Judged>, Problem> {
    if body.why.len() > MAX_REASON_BYTES {
        let wrong = format!(
            "it has {} bytes, and there may be {MAX_REASON_BYTES}",
            body.why.len()
        );
        return Err(Problem::bad_field("why", wrong, "say it in a few words"));
    }
    let known = feedback(&state)?;
    let found = state.history.searches().finding(&id).await?;
    let Some((target, finding)) = found else {
        return Err(Problem::not_found("finding", &id, "/api/v1/incidents"));
    };
    let verdict = if body.useful { "useful" } else { "noise" };
    let what = format!("{id} was {verdict}: {}", body.why);
    let by = caller.name.clone();
    let vote = Vote {
        finding: id,
        useful: body.useful,
        by: caller.name,
        why: body.why,
        at: (state.clock)(),
    };
    let judged = known
        .say(&target, &finding, vote)
        .await
        .map_err(problem_of)?;
    tracing::info!(
        signal = judged.signal,
        detector = judged.detector,
        threshold = judged.threshold,
        "feedback recorded"
    );
    record_admin_event(&state, "feedback", &by, what).await;
    Ok(Json(judged))
}

/// Takes back all votes on a series.
pub(super) async fn take_back(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
) -> Result<Json<Judged>, Problem> {
    let judged = feedback(&state)?.take_back(&id).await.map_err(problem_of)?;
    record_admin_event(&state, "feedback_taken_back", &caller.name, id).await;
    Ok(Json(judged))
}

fn feedback(state: &ApiState) -> Result<&Feedback, Problem> {
    state
        .feedback
        .as_ref()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn problem_of(error: FeedbackError) -> Problem {
    let (status, kind, remedy) = match error {
        FeedbackError::NotFound(id) => {
            return Problem::not_found("feedback", &id, "/api/v1/feedback");
        }
        FeedbackError::TooMany => (
            StatusCode::CONFLICT,
            "too-many",
            "take some back with DELETE /api/v1/feedback/{id}",
        ),
        FeedbackError::File(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "feedback",
            "give the service a data folder that it can write to",
        ),
    };
    Problem::new(status, kind, "It is not kept", error.to_string(), remedy)
}
