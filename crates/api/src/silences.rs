//! `/api/v1/silences`: which targets are left alone for a while.

use anomalyzer_domain::millis;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Caller;
use super::extract;
use super::extract::Path;
use super::noted::note;
use super::problem::Problem;
use super::state::ApiState;
use anomalyzer_domain::{duration, rfc3339};
use anomalyzer_policy::Selector;
use anomalyzer_remediate::{Silence, SilenceError, Silences};

/// Nobody is left alone for longer: what is for ever belongs into the configuration.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// A reason is at most that long, in bytes.
const MOST: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Which targets.
    targets: Selector,
    /// For how long.
    #[serde(rename = "for", with = "duration")]
    lasts: Duration,
    /// For whoever finds it.
    why: String,
}

/// Those in force.
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(Json(
        json!({ "silences": silences(&state)?.all((state.clock)()) }),
    ))
}

/// Begins one.
pub(super) async fn add(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    extract::Json(asked): extract::Json<Asked>,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let why = asked.why.trim().to_owned();
    if why.is_empty() || why.len() > MOST {
        let wrong = format!("it has {} bytes, and there are 1 to {MOST}", why.len());
        return Err(Problem::bad_field(
            "why",
            wrong,
            "say in a few words why nothing is to be done",
        ));
    }
    if asked.lasts.is_zero() || asked.lasts > LONGEST {
        return Err(Problem::bad_field(
            "for",
            "it is not more than nothing and at most 31 days",
            "write for example \"2h\"",
        ));
    }
    if asked.targets == Selector::default() {
        let remedy = "name a namespace, kind or name; the kill switch stops everything";
        return Err(Problem::bad_field(
            "targets",
            "it matches everything",
            remedy,
        ));
    }
    let since = (state.clock)();
    let until = since.saturating_add(millis(asked.lasts));
    let silence = silences(&state)?
        .add(asked.targets, why, caller.name, since, until)
        .await
        .map_err(not_done)?;
    tracing::warn!(
        by = silence.by,
        why = silence.why,
        silence = silence.id,
        "targets are silenced"
    );
    let targets = serde_json::to_string(&silence.targets).unwrap_or_default();
    let why = format!(
        "{}: {targets} until {} ({})",
        silence.id,
        rfc3339(silence.until),
        silence.why
    );
    note(&state, "silence", &silence.by, why).await;
    Ok((StatusCode::CREATED, Json(silence)))
}

/// Ends one before its time.
pub(super) async fn end(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
) -> Result<Json<Silence>, Problem> {
    let silence = silences(&state)?
        .end(&id, (state.clock)())
        .await
        .map_err(not_done)?;
    note(&state, "silence_ended", &caller.name, id.clone()).await;
    tracing::warn!(by = caller.name, silence = id, "a silence was ended");
    Ok(Json(silence))
}

fn silences(state: &ApiState) -> Result<&Silences, Problem> {
    state
        .silences
        .as_ref()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn not_done(error: SilenceError) -> Problem {
    let (status, kind, remedy) = match error {
        SilenceError::NotFound(id) => {
            return Problem::not_found("silence", &id, "/api/v1/silences");
        }
        SilenceError::TooMany => (
            StatusCode::CONFLICT,
            "too-many",
            "end some with DELETE /api/v1/silences/{id}",
        ),
        SilenceError::File(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "silences",
            "give the service a data folder that it can write to",
        ),
    };
    Problem::new(
        status,
        kind,
        "The silence was not set",
        error.to_string(),
        remedy,
    )
}
