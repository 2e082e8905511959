//! `/health`, and the service's own metrics at `/metrics`.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::common::metrics;
use crate::history::History;

use super::auth::Caller;
use super::backend::{PartHealth, PartStatus};
use super::state::ProbeState;

#[derive(Serialize)]
struct Health {
    /// Worst status of all parts.
    status: PartStatus,
    version: &'static str,
    /// Parts, which a caller without a token does not get: their details name addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<BTreeMap<String, PartHealth>>,
}

/// Answers with the health of the parts: 503 if one is broken.
pub(super) async fn health(
    State(probe): State<ProbeState>,
    caller: Option<Extension<Caller>>,
) -> Response {
    let mut parts = probe.backend.health();
    parts.extend(probe.history.as_ref().map(history_health));
    let status = parts
        .iter()
        .map(|part| part.status)
        .max()
        .unwrap_or(PartStatus::Ok);
    let code = if status == PartStatus::Broken {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let parts = caller.map(|_| {
        parts
            .into_iter()
            .map(|part| (part.name.clone(), part))
            .collect()
    });
    (
        code,
        axum::Json(Health {
            status,
            version: env!("CARGO_PKG_VERSION"),
            parts,
        }),
    )
        .into_response()
}

fn history_health(history: &History) -> PartHealth {
    let health = history.health();
    let (status, detail) = match health.problem {
        Some(problem) => (PartStatus::Broken, problem),
        None if health.waiting == health.capacity => (
            PartStatus::Degraded,
            format!(
                "all {} places of the writer's queue are taken",
                health.capacity
            ),
        ),
        None if health.leads == Some(false) => (
            PartStatus::Ok,
            "stands by: decisions are recorded by another server, and shown here".to_owned(),
        ),
        None => (
            PartStatus::Ok,
            format!("{} of {} records wait", health.waiting, health.capacity),
        ),
    };
    PartHealth {
        name: "history".to_owned(),
        status,
        detail,
    }
}

/// Answers with the service's own metrics in Prometheus's text format.
pub(super) async fn scrape(State(probe): State<ProbeState>) -> impl IntoResponse {
    probe.backend.before_scrape().await;
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        probe.metrics.render(),
    )
}
