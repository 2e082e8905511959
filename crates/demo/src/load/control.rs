//! Control endpoint of the traffic.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use anomalyzer_domain::duration;

use super::running::Load;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Surge {
    factor: f64,
    #[serde(default, rename = "for", with = "duration::option")]
    lasts: Option<Duration>,
}

/// Builds the router: `POST /surge?factor=4&for=20s` (without `for`: until the next change),
/// `DELETE /surge`, `GET /status`.
pub fn router(load: Load) -> Router {
    let status = |State(load): State<Load>| async move { Json(load.status()) };
    Router::new()
        .route("/status", get(status))
        .route("/surge", post(surge).delete(calm))
        .with_state(load)
}

async fn surge(State(load): State<Load>, Query(surge): Query<Surge>) -> Response {
    if !(0.0..=1000.0).contains(&surge.factor) {
        return (
            StatusCode::BAD_REQUEST,
            "the factor must be from 0 to 1000\n",
        )
            .into_response();
    }
    match surge.lasts {
        Some(lasts) => load.surge(surge.factor, lasts),
        None => load.set_factor(surge.factor),
    }
    Json(load.status()).into_response()
}

async fn calm(State(load): State<Load>) -> Response {
    load.set_factor(1.0);
    Json(load.status()).into_response()
}
