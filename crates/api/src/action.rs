//! `POST /action/{name}`: a person asks, and the guard is asked like for any other solution.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use anomalyzer_domain::{
    Analyst, AnalystKind, Decision, DecisionId, Parameters, Provenance, Solution, Target, UnixMs,
    duration, solutions,
};
use anomalyzer_history::HistoryError;

use super::access::Caller;
use super::extract::{Json, Path, Query};
use super::fresh::fresh;
use super::{ApiState, Problem, target};

/// What was asked for is not begun later than that, in milliseconds.
const EXPIRES_MS: i64 = 600_000;

/// Nobody waits longer.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The solution that the path names: one of the eight, or an action that was uploaded.
fn named(state: &ApiState, name: &str) -> Result<String, Problem> {
    let solution = name.replace('-', "_");
    let known = solutions::ALL.contains(&solution.as_str()) && !name.contains('_');
    let uploaded = || {
        state
            .plugins
            .as_ref()
            .is_some_and(|room| room.plugins.has_action(name))
    };
    if known || uploaded() {
        Ok(solution)
    } else {
        Err(Problem::unknown_action(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(deserialize_with = "target::either")]
    target: Target,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patience {
    #[serde(default, deserialize_with = "wait")]
    wait: Option<Duration>,
}

fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error;

    let wait = duration::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
    if wait > LONGEST_WAIT {
        return Err(D::Error::custom(format!(
            "nobody waits longer than {}",
            duration::format(LONGEST_WAIT)
        )));
    }
    Ok(Some(wait))
}

/// 202 with the decision's id; with `wait`, 200 with the decision if it is final before that.
pub(super) async fn act(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path,
    Query(patience): Query<Patience>,
    headers: HeaderMap,
    Json(asked): Json<Asked>,
) -> Result<Response, Problem> {
    let now = (state.clock)();
    let solution = named(&state, &name)?;
    let id = decision_id(&headers, &caller, &solution, &asked.target)?;
    let accepted = (
        StatusCode::ACCEPTED,
        axum::Json(json!({"decision": id, "url": format!("/api/v1/decisions/{id}")})),
    );
    let explanation = asked
        .reason
        .unwrap_or_else(|| format!("asked for by {}", caller.name));
    let wanted = Solution {
        target: Some(asked.target),
        parameters: asked.parameters,
        ..request(solution, explanation, id.to_string(), caller.name, now)
    };

    let deadline = patience.wait.map(|wait| Instant::now() + wait);
    // Before it is submitted, so that its end cannot be missed.
    let decisions = state.history.subscribe();
    state.doors.submit(wanted).await?;
    let Some(deadline) = deadline else {
        return Ok(accepted.into_response());
    };
    tokio::select! {
        decision = end_of(&state, &id, decisions) => match decision? {
            Some(decision) => Ok(axum::Json(decision).into_response()),
            None => Ok(accepted.into_response()),
        },
        () = tokio::time::sleep_until(deadline) => Ok(accepted.into_response()),
        () = state.shutdown.cancelled() => Ok(accepted.into_response()),
    }
}

/// What a person wants.
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
        expires_at: now.saturating_add(EXPIRES_MS),
        basis: None,
    }
}

/// The same request sent twice with the same `Idempotency-Key` is one decision.
fn decision_id(
    headers: &HeaderMap,
    caller: &Caller,
    solution: &str,
    target: &Target,
) -> Result<DecisionId, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(DecisionId::derive(&["api", &fresh()]));
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

/// The decision when nothing more happens to it by itself. None if that will never be known.
async fn end_of(
    state: &ApiState,
    id: &DecisionId,
    mut decisions: tokio::sync::broadcast::Receiver<std::sync::Arc<Decision>>,
) -> Result<Option<Decision>, HistoryError> {
    loop {
        // Read first: what was sent twice may be over since long, and who lags behind may have
        // missed the end.
        if let Some(decision) = state
            .history
            .decision(id)
            .await?
            .filter(|decision| decision.state.is_final())
        {
            return Ok(Some(decision));
        }
        loop {
            match decisions.recv().await {
                Ok(decision) if decision.id == *id && decision.state.is_final() => {
                    return Ok(Some(Decision::clone(&decision)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }
}
