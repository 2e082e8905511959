//! `/api/v1/kill-switch`: stops and resumes all changes. Every switch is on record, also a switch
//! through the file alone.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use anomalyzer_domain::rfc3339;
use anomalyzer_history::HistoryError;
use anomalyzer_remediate::KillSwitch;

use super::audit_entry::{record_admin_event, try_record_admin_event};
use super::auth::Caller;
use super::extract;
use super::limits::MAX_REASON_BYTES;
use super::problem::Problem;
use super::state::ApiState;

const ON: &str = "kill_switch_on";
const OFF: &str = "kill_switch_off";
/// Author of a switch through the file. The author is not known: where the record is shared, the
/// file may be another server's.
const FILE: &str = "the file STOP, as it was found";
/// Interval of reading the file for the record. Operations read it themselves, each time.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reason in the record for switching off.
const RESUMED: &str = "what was stopped may be changed again";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// Reason, for people who find the switch on.
    why: String,
}

/// Shows whether the switch is on, and why.
pub(super) async fn show(State(state): State<ApiState>) -> Result<Json<Value>, Problem> {
    Ok(shown(switch(&state)?))
}

/// Switches on. Every decision under way stops before its next operation.
pub(super) async fn on(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    extract::Json(reason): extract::Json<Reason>,
) -> Result<Json<Value>, Problem> {
    let switch = switch(&state)?;
    if reason.why.len() > MAX_REASON_BYTES {
        let length = reason.why.len();
        return Err(Problem::bad_field(
            "why",
            format!("it has {length} bytes, and there are 1 to {MAX_REASON_BYTES}"),
            "say in a few words why nothing may be changed",
        ));
    }
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
    let mut recorded = state.recorded_switch.lock().await;
    if let Err(error) = switch.on(&why).await {
        // On a full disk the file is there, without the reason, and counts.
        if switch.why().is_none() {
            return Err(not_written(&error));
        }
        tracing::error!(%error, "the kill switch is on, and its reason could not be written");
    }
    tracing::warn!(by = caller.name, why = reason.why, "kill switch turned on");
    let on_record =
        record_admin_event(&state, ON, &caller.name, reason.why.trim().to_owned()).await;
    if on_record {
        *recorded = Some(true);
    }
    Ok(switched(switch, on_record))
}

/// Switches off.
pub(super) async fn off(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let switch = switch(&state)?;
    let mut recorded = state.recorded_switch.lock().await;
    switch.off().await.map_err(|error| not_written(&error))?;
    tracing::warn!(by = caller.name, "kill switch turned off");
    let on_record = record_admin_event(&state, OFF, &caller.name, RESUMED.to_owned()).await;
    if on_record {
        *recorded = Some(false);
    }
    Ok(switched(switch, on_record))
}

/// Records switches through the file alone, until the shutdown. After a failure it tries again.
pub async fn watch(state: ApiState) {
    let Some(switch) = &state.kill_switch else {
        return;
    };
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = tokio::time::sleep(FILE_POLL_INTERVAL) => {}
        }
        let mut recorded = state.recorded_switch.lock().await;
        if let Err(error) = record_file_switch(&state, switch, &mut recorded).await {
            tracing::debug!(%error, "cannot record the state of the kill switch");
        }
    }
}

/// Compares the file with the record, and records a difference.
async fn record_file_switch(
    state: &ApiState,
    switch: &KillSwitch,
    recorded: &mut Option<bool>,
) -> Result<(), HistoryError> {
    let before = match *recorded {
        Some(recorded) => recorded,
        None => last_recorded(state).await?,
    };
    *recorded = Some(before);
    match switch.why() {
        Some(why) if !before => try_record_admin_event(state, ON, FILE, why).await?,
        None if before => try_record_admin_event(state, OFF, FILE, RESUMED.to_owned()).await?,
        _ => return Ok(()),
    }
    *recorded = Some(!before);
    tracing::warn!(on = !before, "kill switch turned by its file");
    Ok(())
}

/// Returns the state of the switch in the record.
async fn last_recorded(state: &ApiState) -> Result<bool, HistoryError> {
    let newest = state.history.newest_of([ON, OFF]).await?;
    Ok(newest.is_some_and(|newest| newest == ON))
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

/// Shows the switch after it was turned, and says so if that is not on record. It is recorded once
/// the disk has room.
fn switched(switch: &KillSwitch, recorded: bool) -> Json<Value> {
    let Json(mut shown) = shown(switch);
    if !recorded {
        shown["recorded"] = false.into();
    }
    Json(shown)
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
