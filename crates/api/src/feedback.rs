//! `/api/v1/feedback`: what people say of findings.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Caller;
use super::extract::{self, Path};
use super::noted::note;
use super::problem::Problem;
use super::state::ApiState;
use anomalyzer_detect::{Feedback, FeedbackError, Judged, Vote};

/// A reason is at most that long, in bytes.
const MOST: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// Whether the finding was useful, or noise.
    useful: bool,
    #[serde(default)]
    why: String,
}

/// All that was said, with the thresholds that came of it.
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "feedback": feedback(&state)?.all() })))
}

/// Takes in what somebody says of a finding.
pub(super) async fn say(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
    extract::Json(said): extract::Json<Said>,
) -> Result<Json<Judged>, Problem> {
    if said.why.len() > MOST {
        let wrong = format!("it has {} bytes, and there may be {MOST}", said.why.len());
        return Err(Problem::bad_field("why", wrong, "say it in a few words"));
    }
    let known = feedback(&state)?;
    let found = state.history.finding(&id).await?;
    let Some((target, finding)) = found else {
        return Err(Problem::not_found("finding", &id, "/api/v1/incidents"));
    };
    let word = if said.useful { "useful" } else { "noise" };
    let what = format!("{id} was {word}: {}", said.why);
    let by = caller.name.clone();
    let vote = Vote {
        finding: id,
        useful: said.useful,
        by: caller.name,
        why: said.why,
        at: (state.clock)(),
    };
    let judged = known.say(&target, &finding, vote).await.map_err(not_done)?;
    tracing::info!(
        signal = judged.signal,
        detector = judged.detector,
        threshold = judged.threshold,
        "feedback"
    );
    note(&state, "feedback", &by, what).await;
    Ok(Json(judged))
}

/// Takes back all that was said about a series.
pub(super) async fn take_back(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
) -> Result<Json<Judged>, Problem> {
    let judged = feedback(&state)?.take_back(&id).await.map_err(not_done)?;
    note(&state, "feedback_taken_back", &caller.name, id).await;
    Ok(Json(judged))
}

fn feedback(state: &ApiState) -> Result<&Feedback, Problem> {
    state
        .feedback
        .as_ref()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn not_done(error: FeedbackError) -> Problem {
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
