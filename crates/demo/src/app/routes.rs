//! HTTP routes of the application.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::time::Instant;

use anomalyzer_common::clock::now_ms;

use super::faults::{Fault, Faults, Wanted};
use super::memory::resident_bytes;
use super::metrics::Gauge;
use super::pool::Served;
use super::state::App;

/// A page, with its work as a multiple of the mean. The mean is 1 for traffic that requests the
/// pages in the ratio 5 : 3 : 2.
pub struct Page {
    pub path: &'static str,
    weight: f64,
}

/// All pages.
pub const PAGES: [Page; 3] = [
    Page {
        path: "/",
        weight: 0.6,
    },
    Page {
        path: "/search",
        weight: 1.2,
    },
    Page {
        path: "/checkout",
        weight: 1.7,
    },
];

/// Time between two checks of a hanging request if the fault is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Builds the router with all routes.
pub fn router(app: Arc<App>) -> Router {
    // This fixes the start time of the process, as far as the metrics can tell.
    LazyLock::force(&STARTED);
    let mut service = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/metrics", get(metrics));
    for page in &PAGES {
        service = service.route(
            page.path,
            get(move |State(app): State<Arc<App>>| serve(app, page)),
        );
    }
    let service = service.route_layer(middleware::from_fn_with_state(app.clone(), hang));
    // The routes of the faults are outside of this layer, so that a hanging application can be told
    // to stop hanging.
    let faults = Router::new()
        .route("/fault", get(shown).delete(clear_all))
        .route("/fault/{name}", post(set).delete(clear));
    service.merge(faults).with_state(app)
}

/// Start time of this process, on the monotonic and on the wall clock.
static STARTED: LazyLock<(Instant, f64)> =
    LazyLock::new(|| (Instant::now(), now_ms() as f64 / 1000.0));

async fn serve(app: Arc<App>, page: &'static Page) -> Response {
    let arrived = Instant::now();
    if app.limit.as_ref().is_some_and(|limit| !limit.admits()) {
        let status = StatusCode::TOO_MANY_REQUESTS;
        app.metrics
            .record(page.path, status.as_u16(), arrived.elapsed());
        return (
            status,
            [(header::RETRY_AFTER, "1")],
            "more than the limit lets in\n",
        )
            .into_response();
    }
    let served = app.pool.serve(|| page.weight * app.faults.slowdown()).await;
    let unlucky = || {
        app.faults
            .strength(Fault::Errors)
            .is_some_and(|share| fastrand::f64() < share)
    };
    let (status, text) = match served {
        Served::QueueFull => (StatusCode::SERVICE_UNAVAILABLE, "the queue is full\n"),
        Served::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "no worker was free in time\n"),
        Served::Done if unlucky() => (StatusCode::INTERNAL_SERVER_ERROR, "it went wrong\n"),
        Served::Done => (StatusCode::OK, "here you are\n"),
    };
    app.metrics
        .record(page.path, status.as_u16(), arrived.elapsed());
    (status, text).into_response()
}

async fn hang(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    while app.faults.strength(Fault::Hang).is_some() {
        if tokio::time::timeout(POLL_INTERVAL, app.shutdown.cancelled())
            .await
            .is_ok()
        {
            return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
        }
    }
    next.run(request).await
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    if app.faults.strength(Fault::Mute).is_some() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let (started, started_at) = *STARTED;
    let gauges = [
        Gauge {
            name: "app_queue_length",
            help: "Requests that wait for a worker.",
            value: Some(app.pool.waiting().into()),
        },
        Gauge {
            name: "app_workers_busy",
            help: "Workers that work.",
            value: Some(app.pool.busy().into()),
        },
        Gauge {
            name: "process_resident_memory_bytes",
            help: "Resident memory in bytes.",
            value: resident_bytes().map(|bytes| bytes as f64),
        },
        Gauge {
            name: "process_start_time_seconds",
            help: "When the process began, in seconds since 1970.",
            value: Some(started_at),
        },
        Gauge {
            name: "process_uptime_seconds",
            help: "For how long the process has run.",
            value: Some(started.elapsed().as_secs_f64()),
        },
    ];
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        app.metrics.render(&gauges),
    )
        .into_response()
}

fn active(faults: &Faults) -> Response {
    Json(json!({ "active": faults.shown() })).into_response()
}

fn unknown(name: &str) -> Response {
    (
        StatusCode::NOT_FOUND,
        format!("there is no fault `{name}`: there are {}\n", Fault::names()),
    )
        .into_response()
}

async fn shown(State(app): State<Arc<App>>) -> Response {
    active(&app.faults)
}

async fn set(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<Wanted>,
    body: Bytes,
) -> Response {
    let Some(fault) = Fault::named(&name) else {
        return unknown(&name);
    };
    let wanted = if body.trim_ascii().is_empty() {
        Ok(query)
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| format!("the body is not what a fault takes: {error}"))
    };
    match wanted.and_then(|wanted| app.faults.set(fault, wanted)) {
        Ok(()) => {
            tracing::info!(fault = name, "fault switched on");
            active(&app.faults)
        }
        Err(reason) => (StatusCode::BAD_REQUEST, reason + "\n").into_response(),
    }
}

async fn clear(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Some(fault) = Fault::named(&name) else {
        return unknown(&name);
    };
    app.faults.clear(fault);
    active(&app.faults)
}

async fn clear_all(State(app): State<Arc<App>>) -> Response {
    app.faults.clear_all();
    active(&app.faults)
}
