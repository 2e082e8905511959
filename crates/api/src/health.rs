//! `/health`, and the service's own metrics at `/metrics`.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use anomalyzer_common::metrics::{self, Metrics};
use anomalyzer_domain::rfc3339;
use anomalyzer_history::History;

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
    if let Some(history) = &probe.history {
        parts.extend([history_health(history), record_health(history)]);
    }
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
        None if health.reads_refused > 0 => (
            PartStatus::Degraded,
            format!(
                "{} reads of the acting part got no connection within the last minute",
                health.reads_refused
            ),
        ),
        None if health.searches_refused > 0 => (
            PartStatus::Degraded,
            format!(
                "{} searches got no connection within the last minute: there are too many or too wide ones",
                health.searches_refused
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

/// Returns the result of the last verification of the record.
fn record_health(history: &History) -> PartHealth {
    let last = history.verification();
    let (status, detail) = match (last.at, &last.mismatch, &last.error) {
        (_, Some(mismatch), _) => {
            let effect = match last.stops {
                true => "; nothing is changed until then",
                false => "",
            };
            (PartStatus::Broken, format!("{mismatch}{effect}"))
        }
        (_, None, Some(error)) => (PartStatus::Degraded, format!("cannot be verified: {error}")),
        (Some(at), None, None) => (
            PartStatus::Ok,
            format!("{} events verified at {}", last.events, rfc3339(at)),
        ),
        (None, None, None) => (PartStatus::Ok, "not verified yet".to_owned()),
    };
    PartHealth {
        name: "record".to_owned(),
        status,
        detail,
    }
}

/// Updates the metrics of the history.
fn show_history(history: &History, metrics: &Metrics) {
    let last = history.verification();
    let gauge = |name, help, value: f64| metrics.gauge(name, help, &[]).set(value);
    gauge(
        "anomalyzer_record_mismatch",
        "1 if the record differs from its events.",
        f64::from(last.mismatch.is_some()),
    );
    gauge(
        "anomalyzer_record_verified_events",
        "Events that the last verification found as recorded.",
        last.events as f64,
    );
    gauge(
        "anomalyzer_record_verified_timestamp_seconds",
        "Time of the last verification.",
        last.at.unwrap_or_default() as f64 / 1000.0,
    );
    let [reads_refused, searches_refused, searches_interrupted] = history.read_counts();
    for (readers, count) in [("acting", reads_refused), ("searches", searches_refused)] {
        metrics
            .counter(
                "anomalyzer_history_reads_refused_total",
                "Reads that got no connection.",
                &[("readers", readers)],
            )
            .follow(count);
    }
    metrics
        .counter(
            "anomalyzer_history_searches_interrupted_total",
            "Searches that took too long and were ended.",
            &[],
        )
        .follow(searches_interrupted);
}

/// Answers with the service's own metrics as OpenMetrics 1.0.
pub(super) async fn scrape(State(probe): State<ProbeState>) -> impl IntoResponse {
    probe.backend.before_scrape().await;
    if let Some(history) = &probe.history {
        show_history(history, &probe.metrics);
    }
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        probe.metrics.render(),
    )
}
