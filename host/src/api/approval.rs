//! `POST /api/v1/decisions/{id}/approve` and `…/reject`: answers to held decisions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use tracing::instrument;

use super::auth::Caller;
use super::backend::ApprovalAnswer;
use super::extract::{self, Path};
use super::problem::Problem;
use super::state::ApiState;
use crate::act::AnswerError;
use crate::domain::{Decision, DecisionId};

/// Maximum length of a reason, in bytes.
const MAX_ANSWER_BYTES: usize = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerBody {
    /// Id of the decision's `question`. A yes allows that operation on that state of the target,
    /// and nothing else.
    question: String,
    /// Reason for the record.
    reason: String,
}

/// Approves the operation. It runs at once if the target is unchanged since the question.
pub(super) async fn approve(
    state: State<ApiState>,
    caller: Extension<Caller>,
    id: Path,
    body: extract::Json<AnswerBody>,
) -> Result<Json<Decision>, Problem> {
    answer(state, caller, id, body, true).await
}

/// Rejects the operation.
pub(super) async fn reject(
    state: State<ApiState>,
    caller: Extension<Caller>,
    id: Path,
    body: extract::Json<AnswerBody>,
) -> Result<Json<Decision>, Problem> {
    answer(state, caller, id, body, false).await
}

#[instrument(skip_all, fields(decision.id = %id, approved))]
async fn answer(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
    extract::Json(AnswerBody { question, reason }): extract::Json<AnswerBody>,
    approved: bool,
) -> Result<Json<Decision>, Problem> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.len() > MAX_ANSWER_BYTES {
        let why = format!(
            "it has {} bytes, and there are 1 to {MAX_ANSWER_BYTES}",
            reason.len()
        );
        return Err(Problem::bad_field(
            "reason",
            why,
            "say in a few words why: it stands in the record",
        ));
    }
    let answer = ApprovalAnswer {
        question,
        approved,
        by: caller.name,
        reason,
    };
    let id = DecisionId::from(id);
    state
        .backend
        .answer(&id, answer)
        .await
        .map(Json)
        .map_err(|error| not_taken(&id, error))
}

fn not_taken(id: &DecisionId, error: AnswerError) -> Problem {
    let (kind, title, remedy) = match error {
        AnswerError::NotFound(_) => {
            return Problem::not_found("decision", id.as_str(), "/api/v1/decisions");
        }
        AnswerError::History(error) => return error.into(),
        AnswerError::NotHere => (
            "not-here",
            "This process does not act",
            "ask the one with the server role".to_owned(),
        ),
        AnswerError::NotHeld(_) => (
            "not-held",
            "Nobody is asked",
            "/api/v1/decisions?state=held lists what waits for an answer".to_owned(),
        ),
        AnswerError::OtherQuestion(_) => (
            "other-question",
            "Something else is asked by now",
            format!("look at /api/v1/decisions/{id} again, and answer its `question.id`"),
        ),
        AnswerError::Expired(_) => (
            "expired",
            "It is too late",
            "what is still wrong will be diagnosed and asked again".to_owned(),
        ),
    };
    Problem::new(StatusCode::CONFLICT, kind, title, error.to_string(), remedy)
}
