//! Middleware that every request passes through.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use tracing::Instrument;

use anomalyzer_common::metrics::Metrics;

use super::problem::Problem;

/// Runs the request in a span with its method and path, so that every log line names them.
pub(super) async fn trace(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path()
    );
    next.run(request).instrument(span).await
}

/// Completes every answer: adds the path to a problem, turns axum's own errors into problems, and
/// sets the common headers.
pub(super) async fn complete(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();

    if status.is_client_error() || status.is_server_error() {
        let problem = response.extensions_mut().remove::<Problem>();
        // An unhealthy `/health` is no problem document.
        let is_json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json");
        if let Some(problem) = problem.or_else(|| (!is_json).then(|| Problem::of_status(status))) {
            let allow = response.headers_mut().remove(header::ALLOW);
            response = problem.at(path).into_response();
            if let Some(allow) = allow {
                response.headers_mut().insert(header::ALLOW, allow);
            }
        }
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Counts requests by route. The path is not a label: a stranger could make new series with it.
pub(super) async fn count(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let labels = [("route", route.as_str()), ("status", status.as_str())];
    metrics
        .counter(
            "anomalyzer_http_requests_total",
            "Answered HTTP requests.",
            &labels,
        )
        .increment();
    response
}

/// Ends a request that takes longer than `limit`. The time includes the arrival of its body.
pub(super) async fn limit(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow(limit).into_response(),
    }
}

/// Answers a request for a path that does not exist.
pub(super) async fn unknown_path(request: Request) -> Problem {
    Problem::of_status(StatusCode::NOT_FOUND)
        .with_detail(format!("there is nothing at {}", request.uri().path()))
}

/// Answers a request with a method that the path does not take.
pub(super) async fn unknown_method(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)
        .with_detail(format!("{path} does not take {method}"))
}
