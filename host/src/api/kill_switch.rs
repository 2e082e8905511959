//! `/api/v1/kill-switch`: whether anything may be changed at all.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::act::KillSwitch;
use crate::domain::rfc3339;

use super::access::Caller;
use super::extract;
use super::noted::note;
use super::problem::Problem;
use super::state::ApiState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// For whoever finds it on.
    why: String,
}

/// Whether it is on, and why.
pub(super) async fn show(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(shown(switch(&state)?))
}

/// Switches it on: everything under way stops before its next operation.
pub(super) async fn on(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    extract::Json(reason): extract::Json<Reason>,
) -> Result<Json<Value>, Problem> {
    let switch = switch(&state)?;
    if reason.why.trim().is_empty() {
        let remedy = r#"send {"why": "the network is being rebuilt"}"#;
        return Err(Problem::new(StatusCode::BAD_REQUEST, "reason", "A reason is needed", "`why` is empty", remedy));
    }
    let why = format!("{} (by {} at {})", reason.why.trim(), caller.name, rfc3339((state.clock)()));
    switch.on(&why).await.map_err(|error| not_written(&error))?;
    tracing::warn!(by = caller.name, why = reason.why, "the kill switch is on");
    note(&state, "kill_switch_on", &caller.name, reason.why.trim().to_owned()).await;
    Ok(shown(switch))
}

/// Switches it off.
pub(super) async fn off(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let switch = switch(&state)?;
    switch.off().await.map_err(|error| not_written(&error))?;
    tracing::warn!(by = caller.name, "the kill switch is off");
    note(&state, "kill_switch_off", &caller.name, "what was stopped may be changed again".to_owned()).await;
    Ok(shown(switch))
}

fn switch(state: &ApiState) -> Result<&KillSwitch, Problem> {
    state.kill_switch.as_ref().ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
}

fn shown(switch: &KillSwitch) -> Json<Value> {
    let why = switch.why();
    Json(json!({ "on": why.is_some(), "why": why }))
}

fn not_written(error: &std::io::Error) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "kill-switch",
        "The kill switch can't be set",
        error.to_string(),
        "make or remove the file STOP in the data folder by hand: it counts at once",
    )
}
