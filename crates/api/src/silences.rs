//! `/api/v1/silences`: targets on which nothing is changed for a while.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit_entry::record_admin_event;
use super::auth::Caller;
use super::extract::{self, Path};
use super::limits::{MAX_PATTERN_BYTES, MAX_REASON_BYTES};
use super::problem::Problem;
use super::state::ApiState;
use anomalyzer_domain::{check_name, duration, millis, rfc3339};
use anomalyzer_policy::Selector;
use anomalyzer_remediate::{Silence, SilenceError, Silences};

/// Maximum duration of a silence. A permanent one belongs into the configuration.
const MAX_SILENCE_DURATION: Duration = Duration::from_secs(31 * 24 * 3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SilenceBody {
    /// Targets of the silence.
    targets: Selector,
    /// Duration.
    #[serde(rename = "for", with = "duration")]
    lasts: Duration,
    /// Reason, for people who find the silence.
    why: String,
}

/// Lists the silences in force.
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(Json(
        json!({ "silences": silences(&state)?.all((state.clock)()) }),
    ))
}

/// Begins a silence.
pub(super) async fn add(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    extract::Json(body): extract::Json<SilenceBody>,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let why = body.why.trim().to_owned();
    if why.is_empty() || why.len() > MAX_REASON_BYTES {
        let wrong = format!(
            "it has {} bytes, and there are 1 to {MAX_REASON_BYTES}",
            why.len()
        );
        return Err(Problem::bad_field(
            "why",
            wrong,
            "say in a few words why nothing is to be done",
        ));
    }
    if body.lasts.is_zero() || body.lasts > MAX_SILENCE_DURATION {
        return Err(Problem::bad_field(
            "for",
            "it is not more than nothing and at most 31 days",
            "write for example \"2h\"",
        ));
    }
    if body.targets == Selector::default() {
        let remedy = "name a namespace, kind or name; the kill switch stops everything";
        return Err(Problem::bad_field(
            "targets",
            "it matches everything",
            remedy,
        ));
    }
    check_patterns(&body.targets)?;
    let since = (state.clock)();
    let until = since.saturating_add(millis(body.lasts));
    let silence = silences(&state)?
        .add(body.targets, why, caller.name, since, until)
        .await
        .map_err(problem_of)?;
    tracing::warn!(
        by = silence.by,
        why = silence.why,
        silence = silence.id,
        "silence began"
    );
    let targets = serde_json::to_string(&silence.targets).unwrap_or_default();
    let why = format!(
        "{}: {targets} until {} ({})",
        silence.id,
        rfc3339(silence.until),
        silence.why
    );
    record_admin_event(&state, "silence", &silence.by, why).await;
    Ok((StatusCode::CREATED, Json(silence)))
}

/// Returns an error if a pattern is too long or has hidden characters.
fn check_patterns(targets: &Selector) -> Result<(), Problem> {
    let Selector {
        cluster,
        namespace,
        kind,
        name,
    } = targets;
    for (field, pattern) in [
        ("targets.cluster", cluster),
        ("targets.namespace", namespace),
        ("targets.kind", kind),
        ("targets.name", name),
    ] {
        let pattern = pattern.as_deref().unwrap_or_default();
        if let Err(error) = check_name(pattern, MAX_PATTERN_BYTES) {
            let wrong = format!("it {error}");
            let remedy = "write a short pattern of visible characters, such as \"web-*\"";
            return Err(Problem::bad_field(field, wrong, remedy));
        }
    }
    Ok(())
}

/// Ends a silence before its time.
pub(super) async fn end(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path,
) -> Result<Json<Silence>, Problem> {
    let silence = silences(&state)?
        .end(&id, (state.clock)())
        .await
        .map_err(problem_of)?;
    record_admin_event(&state, "silence_ended", &caller.name, id.clone()).await;
    tracing::warn!(by = caller.name, silence = id, "silence ended");
    Ok(Json(silence))
}

fn silences(state: &ApiState) -> Result<&Silences, Problem> {
    state
        .silences
        .as_ref()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn problem_of(error: SilenceError) -> Problem {
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
