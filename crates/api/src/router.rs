//! The routes of each role, with the middleware that each request passes through.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};

use anomalyzer_common::metrics::Metrics;

use super::limits::{MAX_ACTION_WAIT, MAX_BODY_BYTES, PLUGIN_REQUEST_TIMEOUT, REQUEST_TIMEOUT};
use super::plugins_state::PluginsState;
use super::state::{ApiState, EngineState};
use super::{
    action, approval, auth, decisions, feedback, health, incidents, kill_switch, middleware,
    plugins, signals, silences, test_metric, upload,
};

/// Returns all routes of the server.
pub fn router(state: ApiState) -> Router {
    let authorize = from_fn_with_state(state.access.clone(), auth::authorize);
    let identify = from_fn_with_state(state.access.clone(), auth::identify);
    let metrics = state.metrics.clone();
    let plugins = plugin_routes(&state);
    let health = Router::new()
        .route("/health", get(health::health))
        .route_layer(identify);
    let routes = action_routes()
        .merge(common_routes())
        .route_layer(authorize)
        .merge(plugins)
        .merge(health)
        .with_state(state);
    finish(routes, metrics)
}

/// Returns the routes of the engine: `/health` and `/metrics`.
pub fn engine_router(state: EngineState) -> Router {
    let authorize = from_fn_with_state(state.access.clone(), auth::authorize);
    let identify = from_fn_with_state(state.access.clone(), auth::identify);
    let metrics = state.metrics.clone();
    let scrape = Router::new()
        .route("/metrics", get(health::scrape))
        .layer(from_fn_with_state(REQUEST_TIMEOUT, middleware::limit))
        .route_layer(authorize);
    let health = Router::new()
        .route("/health", get(health::health))
        .route_layer(identify);
    finish(scrape.merge(health).with_state(state), metrics)
}

/// Routes whose requests may wait for a decision, and so may take longer than others.
fn action_routes() -> Router<ApiState> {
    let limit = from_fn_with_state(REQUEST_TIMEOUT + MAX_ACTION_WAIT, middleware::limit);
    Router::new()
        .route("/action/{name}", post(action::act))
        .layer(limit)
}

fn common_routes() -> Router<ApiState> {
    Router::new()
        .route("/metrics", get(health::scrape))
        .route("/metrics-test", get(test_metric::scrape))
        .route("/send-test-metric", post(test_metric::send))
        .route("/api/v1/decisions", get(decisions::list))
        .route("/api/v1/decisions/{id}", get(decisions::one))
        .route("/api/v1/decisions/{id}/approve", post(approval::approve))
        .route("/api/v1/decisions/{id}/reject", post(approval::reject))
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
            post(feedback::add).delete(feedback::take_back),
        )
        .route("/api/v1/signals", get(signals::list))
        .layer(from_fn_with_state(REQUEST_TIMEOUT, middleware::limit))
}

/// Routes of the plugins. They have a longer time limit, as the host compiles uploaded components,
/// and admit the role `uploader`.
fn plugin_routes(state: &ApiState) -> Router<ApiState> {
    let max_body = state
        .plugins
        .as_ref()
        .map_or(MAX_BODY_BYTES, PluginsState::max_body_bytes);
    Router::new()
        .route(
            "/api/v1/plugins",
            get(plugins::list)
                .post(upload::upload)
                .layer(DefaultBodyLimit::max(max_body)),
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
        .layer(from_fn_with_state(
            PLUGIN_REQUEST_TIMEOUT,
            middleware::limit,
        ))
        .route_layer(from_fn_with_state(
            state.access.clone(),
            auth::authorize_plugins,
        ))
}

/// Adds the fallbacks and the layers that every request of either role passes through.
fn finish(routes: Router, metrics: Metrics) -> Router {
    routes
        .method_not_allowed_fallback(middleware::unknown_method)
        .fallback(middleware::unknown_path)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(middleware::complete))
        .layer(from_fn_with_state(metrics, middleware::count))
        .layer(from_fn(middleware::trace))
}
