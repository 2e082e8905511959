//! The HTTP doors. Errors are RFC 9457 problem details, each with a remedy.

mod access;
mod action;
mod answer;
mod config;
mod decisions;
mod doors;
mod extract;
mod feedback;
mod fresh;
mod health;
mod incidents;
mod kill_switch;
mod layers;
mod noted;
mod plugin_changes;
mod plugins;
mod problem;
mod server;
mod silences;
mod state;
mod target;
mod test_metric;
mod write_timeout;

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde_json::Value;

use anomalyzer_common::metrics::Metrics;

use plugins::PluginRoom;

pub use access::Access;
pub use config::{ApiConfig, Role, Token};
pub use doors::{DoorError, Doors, PartHealth, PartStatus, Said, TestMetric};
pub use kill_switch::watch as watch_kill_switch;
pub use plugin_changes::record_plugin_changes;
pub use problem::Problem;
pub use server::serve;
pub use state::{ApiState, EngineState};

/// How long a request may take.
const TIME: Duration = Duration::from_secs(30);

/// How long it may take to look at a plugin.
const EXAMINATION: Duration = Duration::from_secs(180);

/// How long a body may be, in bytes.
const BODY: usize = 1024 * 1024;

/// All the doors of the server.
pub fn router(state: ApiState) -> Router {
    let guard = from_fn_with_state(state.access.clone(), access::guard);
    let note = from_fn_with_state(state.access.clone(), access::note);
    let metrics = state.metrics.clone();
    // Who waits for a decision may take longer.
    let actions = Router::new()
        .route("/action/{name}", post(action::act))
        .layer(from_fn_with_state(
            TIME + action::LONGEST_WAIT,
            layers::limit,
        ));
    let others = Router::new()
        .route("/metrics", get(health::scrape))
        .route("/metrics-test", get(test_metric::scrape))
        .route("/send-test-metric", post(test_metric::send))
        .route("/api/v1/decisions", get(decisions::list))
        .route("/api/v1/decisions/{id}", get(decisions::one))
        .route("/api/v1/decisions/{id}/approve", post(answer::approve))
        .route("/api/v1/decisions/{id}/reject", post(answer::reject))
        .route("/api/v1/incidents", get(incidents::list))
        .route("/api/v1/incidents/{id}", get(incidents::one))
        .route(
            "/api/v1/kill-switch",
            get(kill_switch::show)
                .put(kill_switch::on)
                .delete(kill_switch::off),
        )
        .route("/api/v1/silences", get(silences::list).post(silences::add))
        .route("/api/v1/silences/{id}", delete(silences::end))
        .route("/api/v1/feedback", get(feedback::list))
        .route(
            "/api/v1/feedback/{id}",
            post(feedback::say).delete(feedback::take_back),
        )
        .route("/api/v1/signals", get(signals))
        .layer(from_fn_with_state(TIME, layers::limit));
    let plugins = plugin_routes(&state);
    let health = Router::new()
        .route("/health", get(health::health))
        .route_layer(note);
    let routes = actions
        .merge(others)
        .route_layer(guard)
        .merge(plugins)
        .merge(health)
        .with_state(state);
    finish(routes, metrics)
}

/// Bytes from outside are compiled there, which takes its time.
fn plugin_routes(state: &ApiState) -> Router<ApiState> {
    let most = state.plugins.as_ref().map_or(BODY, PluginRoom::most_body);
    Router::new()
        .route(
            "/api/v1/plugins",
            get(plugins::list)
                .post(plugins::upload)
                .layer(DefaultBodyLimit::max(most)),
        )
        .route(
            "/api/v1/plugins/{name}",
            get(plugins::one).delete(plugins::remove),
        )
        .route("/api/v1/plugins/{name}/grants", put(plugins::set_grants))
        .route("/api/v1/plugins/{name}/mode", put(plugins::set_mode))
        .route("/api/v1/plugins/{name}/revert", post(plugins::revert))
        .route(
            "/api/v1/plugins/{name}/quarantine/lift",
            post(plugins::lift),
        )
        .layer(from_fn_with_state(EXAMINATION, layers::limit))
        .route_layer(from_fn_with_state(
            state.access.clone(),
            access::guard_plugins,
        ))
}

/// The doors of the engine: `/health` and `/metrics`.
pub fn engine_router(state: EngineState) -> Router {
    let guard = from_fn_with_state(state.access.clone(), access::guard);
    let note = from_fn_with_state(state.access.clone(), access::note);
    let metrics = state.metrics.clone();
    let scrape = Router::new()
        .route("/metrics", get(health::scrape))
        .layer(from_fn_with_state(TIME, layers::limit))
        .route_layer(guard);
    let health = Router::new()
        .route("/health", get(health::health))
        .route_layer(note);
    finish(scrape.merge(health).with_state(state), metrics)
}

fn finish(routes: Router, metrics: Metrics) -> Router {
    routes
        .method_not_allowed_fallback(layers::unknown_method)
        .fallback(layers::unknown_path)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(layers::complete))
        .layer(from_fn_with_state(metrics, layers::count))
}

async fn signals(State(state): State<ApiState>) -> Json<Value> {
    Json(state.doors.signals())
}
