//! `/health` and `/metrics`.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::common::metrics;
use crate::history::History;

use super::access::Caller;
use super::doors::{PartHealth, PartStatus};
use super::state::Vitals;

#[derive(Serialize)]
struct Health {
    /// The worst of the parts.
    status: PartStatus,
    version: &'static str,
    /// Left out for who has no token: it names addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<BTreeMap<String, PartHealth>>,
}

/// 503 when a part is broken.
pub(super) async fn health(
    State(vitals): State<Vitals>,
    caller: Option<Extension<Caller>>,
) -> Response {
    let mut parts = vitals.doors.health();
    parts.extend(vitals.history.as_ref().map(of_history));
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

fn of_history(history: &History) -> PartHealth {
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

/// Answers with the metrics of the host.
pub(super) async fn scrape(State(vitals): State<Vitals>) -> impl IntoResponse {
    vitals.doors.before_scrape().await;
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        vitals.metrics.render(),
    )
}
