//! `POST /api/v1/decisions/{id}/approve` and `…/reject`: what a person says to what is held.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;

use super::access::Caller;
use super::doors::Said;
use super::extract::{self, Path};
use super::problem::Problem;
use super::state::ApiState;
use anomalyzer_domain::{Decision, DecisionId};
use anomalyzer_remediate::AnswerError;

/// A reason is at most that long, in bytes.
const LONGEST: usize = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answered {
    /// The id of the decision's `question`: a yes is to that operation on that state of the target,
    /// and to nothing else.
    question: String,
    /// For whoever reads the record.
    reason: String,
}

/// Yes: it is done at once, if the target is still as it was shown.
pub(super) async fn approve(
    state: State<ApiState>,
    caller: Extension<Caller>,
    id: Path,
    answered: extract::Json<Answered>,
) -> Result<Json<Decision>, Problem> {
    answer(state, caller, id, answered, true).await
}

/// No.
pub(super) async fn reject(
    state: State<ApiState>,
    caller: Extension<Caller>,
    id: Path,
    answered: extract::Json<Answered>,
) -> Result<Json<Decision>, Problem> {
    answer(state, caller, id, answered, false).await
}

async fn answer(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
    extract::Json(Answered { question, reason }): extract::Json<Answered>,
    approved: bool,
) -> Result<Json<Decision>, Problem> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.len() > LONGEST {
        let why = format!(
            "it has {} bytes, and there are 1 to {LONGEST}",
            reason.len()
        );
        return Err(Problem::bad_field(
            "reason",
            why,
            "say in a few words why: it stands in the record",
        ));
    }
    let said = Said {
        question,
        approved,
        by: caller.name,
        reason,
    };
    let id = DecisionId::from(id);
    state
        .doors
        .answer(&id, said)
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
