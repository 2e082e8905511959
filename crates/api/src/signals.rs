//! `/api/v1/signals`: every signal, with its state of collection and detection.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::state::ApiState;

/// Lists the signals.
pub(super) async fn list(State(state): State<ApiState>) -> Json<Value> {
    Json(state.backend.signals())
}
