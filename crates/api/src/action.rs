//! `POST /action/{name}`: a person requests an action. The guard judges the request like any other
//! solution.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tracing::{Span, field, instrument};

use anomalyzer_domain::duration;
use anomalyzer_domain::{
    Analyst, AnalystKind, Decision, DecisionId, Parameters, Provenance, Solution, Target, UnixMs,
    solutions,
};
use anomalyzer_history::HistoryError;

use super::auth::Caller;
use super::extract::{Json, Path, Query};

use super::limits::MAX_ACTION_WAIT;
use super::problem::Problem;
use super::state::ApiState;
use super::target;

/// A request that was not begun within this time expires, in milliseconds.
const REQUEST_EXPIRY_MS: i64 = 600_000;

/// Returns the solution that the path names: one of the eight, or an uploaded action.
fn solution_named(state: &ApiState, name: &str) -> Result<String, Problem> {
    let solution = name.replace('-', "_");
    let known = solutions::ALL.contains(&solution.as_str()) && !name.contains('_');
    let uploaded = || {
        state
            .plugins
            .as_ref()
            .is_some_and(|state| state.plugins.has_action(name))
    };
    if known || uploaded() {
        Ok(solution)
    } else {
        Err(Problem::unknown_action(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionBody {
    #[serde(deserialize_with = "target::either")]
    target: Target,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    #[serde(default, deserialize_with = "wait")]
    wait: Option<Duration>,
}

fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error;

    let wait = duration::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
    if wait > MAX_ACTION_WAIT {
        return Err(D::Error::custom(format!(
            "nobody waits longer than {}",
            duration::format(MAX_ACTION_WAIT)
        )));
    }
    Ok(Some(wait))
}

/// Answers 202 with the decision's id. With `wait`, answers 200 with the decision if it ends within
/// that time.
#[instrument(skip_all, fields(action = %name, decision.id = field::Empty))]
pub(super) async fn act(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    Json(body): Json<ActionBody>,
) -> Result<Response, Problem> {
    let now = (state.clock)();
    let solution = solution_named(&state, &name)?;
    let id = decision_id(&headers, &caller, &solution, &body.target)?;
    Span::current().record("decision.id", id.as_str());
    let accepted = (
        StatusCode::ACCEPTED,
        axum::Json(json!({"decision": id, "url": format!("/api/v1/decisions/{id}")})),
    );
    let explanation = body
        .reason
        .unwrap_or_else(|| format!("asked for by {}", caller.name));
    let solution = Solution {
        target: Some(body.target),
        parameters: body.parameters,
        ..request(solution, explanation, id.to_string(), caller.name, now)
    };

    let deadline = query.wait.map(|wait| Instant::now() + wait);
    // Subscribe before the submission, so that the end of the decision cannot be missed.
    let decisions = state.history.subscribe();
    state.backend.submit(solution).await?;
    let Some(deadline) = deadline else {
        return Ok(accepted.into_response());
    };
    tokio::select! {
        decision = wait_for_end(&state, &id, decisions) => match decision? {
            Some(decision) => Ok(axum::Json(decision).into_response()),
            None => Ok(accepted.into_response()),
        },
        () = tokio::time::sleep_until(deadline) => Ok(accepted.into_response()),
        () = state.shutdown.cancelled() => Ok(accepted.into_response()),
    }
}

/// Builds the solution of a person's request.
pub(super) fn request(
    solution: String,
    explanation: String,
    id: String,
    by: String,
    now: UnixMs,
) -> Solution {
    Solution {
        anomaly_type: "requested".to_owned(),
        solution_type: solution,
        explanation,
        id,
        incident: None,
        target: None,
        parameters: Parameters::new(),
        confidence: 1.0,
        evidence: Vec::new(),
        cites: Vec::new(),
        alternatives: Vec::new(),
        analyst: Analyst::of(AnalystKind::External),
        provenance: Provenance {
            source: Provenance::API.to_owned(),
            by,
        },
        attempt: 0,
        proposed_at: now,
        expires_at: now.saturating_add(REQUEST_EXPIRY_MS),
        basis: None,
    }
}

/// Returns the id of the new decision. Two equal requests with one `Idempotency-Key` get one id.
fn decision_id(
    headers: &HeaderMap,
    caller: &Caller,
    solution: &str,
    target: &Target,
) -> Result<DecisionId, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(DecisionId::derive(&[
            "api",
            &format!("{:016x}", fastrand::u64(..)),
        ]));
    };
    let Some(key) = key
        .to_str()
        .ok()
        .filter(|key| (1..=200).contains(&key.len()))
    else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-header",
            "A header cannot be understood",
            "the header Idempotency-Key is not 1 to 200 visible ASCII characters",
            "use a random UUID",
        ));
    };
    Ok(DecisionId::derive(&[
        "api",
        &caller.name,
        key,
        solution,
        &target.to_string(),
    ]))
}

/// Waits until the decision ends, and returns it. Returns `None` if the history closes before.
async fn wait_for_end(
    state: &ApiState,
    id: &DecisionId,
    mut decisions: tokio::sync::broadcast::Receiver<std::sync::Arc<Decision>>,
) -> Result<Option<Decision>, HistoryError> {
    loop {
        // Read the history first: a repeated request may name a decision that ended long ago, and
        // a lagging receiver may have missed the end.
        if let Some(decision) = state
            .history
            .decision(id)
            .await?
            .filter(|decision| decision.state().needs_no_work())
        {
            return Ok(Some(decision));
        }
        loop {
            match decisions.recv().await {
                Ok(decision) if decision.id == *id && decision.state().needs_no_work() => {
                    return Ok(Some(Decision::clone(&decision)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }
}
