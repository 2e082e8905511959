//! `/api/v1/kill-switch`: whether anything may be changed at all. Who switches it is on record,
//! also where the file was all they had.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use anomalyzer_domain::rfc3339;
use anomalyzer_history::{Filter, HistoryError, Page};
use anomalyzer_remediate::KillSwitch;

use super::access::Caller;
use super::extract;
use super::noted::{note, try_to_note};
use super::problem::Problem;
use super::state::ApiState;

const ON: &str = "kill_switch_on";
const OFF: &str = "kill_switch_off";
/// Who it was is not known; where the record is shared, it may have been at another server, whose
/// file is not here.
const FILE: &str = "the file STOP, as it was found";
/// How often the file is looked at for the record. What is done looks for itself, each time.
const LOOK: Duration = Duration::from_secs(1);

/// Whether it is on as far as is on record, if that was looked up. Held while it is switched.
pub(super) type OnRecord = Arc<Mutex<Option<bool>>>;

const AGAIN: &str = "what was stopped may be changed again";

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
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "reason",
            "A reason is needed",
            "`why` is empty",
            remedy,
        ));
    }
    let why = format!(
        "{} (by {} at {})",
        reason.why.trim(),
        caller.name,
        rfc3339((state.clock)())
    );
    let mut recorded = state.stop_on_record.lock().await;
    switch.on(&why).await.map_err(|error| not_written(&error))?;
    tracing::warn!(by = caller.name, why = reason.why, "the kill switch is on");
    if note(&state, ON, &caller.name, reason.why.trim().to_owned()).await {
        *recorded = Some(true);
    }
    Ok(shown(switch))
}

/// Switches it off.
pub(super) async fn off(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let switch = switch(&state)?;
    let mut recorded = state.stop_on_record.lock().await;
    switch.off().await.map_err(|error| not_written(&error))?;
    tracing::warn!(by = caller.name, "the kill switch is off");
    if note(&state, OFF, &caller.name, AGAIN.to_owned()).await {
        *recorded = Some(false);
    }
    Ok(shown(switch))
}

/// Puts on record what is switched by the file alone, until told to stop. While nothing can be
/// recorded, it is tried again.
pub async fn watch(state: ApiState) {
    let Some(switch) = &state.kill_switch else {
        return;
    };
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let mut recorded = state.stop_on_record.lock().await;
        if let Err(error) = look(&state, switch, &mut recorded).await {
            tracing::debug!(%error, "the kill switch is not on record as it is");
        }
    }
}

async fn look(
    state: &ApiState,
    switch: &KillSwitch,
    recorded: &mut Option<bool>,
) -> Result<(), HistoryError> {
    let before = match *recorded {
        Some(recorded) => recorded,
        None => last(state).await?,
    };
    *recorded = Some(before);
    match switch.why() {
        Some(why) if !before => try_to_note(state, ON, FILE, why).await?,
        None if before => try_to_note(state, OFF, FILE, AGAIN.to_owned()).await?,
        _ => return Ok(()),
    }
    *recorded = Some(!before);
    tracing::warn!(on = !before, "the kill switch was switched by its file");
    Ok(())
}

/// What is on record.
async fn last(state: &ApiState) -> Result<bool, HistoryError> {
    let newest = async |what: &str| {
        let filter = Filter {
            solution: Some(what.to_owned()),
            ..Filter::default()
        };
        let (decisions, _) = state
            .history
            .decisions(
                &filter,
                Page {
                    limit: 1,
                    ..Page::default()
                },
            )
            .await?;
        Ok(decisions.first().map(|decision| decision.decided_at))
    };
    Ok(newest(ON).await? > newest(OFF).await?)
}

fn switch(state: &ApiState) -> Result<&KillSwitch, Problem> {
    state
        .kill_switch
        .as_ref()
        .ok_or_else(|| Problem::of_status(StatusCode::NOT_FOUND))
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
