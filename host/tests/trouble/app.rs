//! A watched application: a `/metrics` endpoint whose values the test computes at each scrape.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// The application. It stops with the test's runtime.
pub struct App {
    pub address: SocketAddr,
}

impl App {
    /// Starts an application that answers each scrape with the lines of `metrics`.
    pub async fn start(metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(metrics);
        let app = Router::new().route("/metrics", get(move || async move { metrics() }));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address }
    }
}
