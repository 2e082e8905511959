//! Process that tests supervise: this test binary, started again as a small web server.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};

/// Returns the command that runs [`serve_until_killed`]. The server listens on `$HOST:$PORT`.
pub fn command() -> Vec<String> {
    let program = std::env::current_exe()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    [
        &program,
        "app::serve_until_killed",
        "--exact",
        "--ignored",
        "--nocapture",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test]
#[ignore = "no test: the process that tests start"]
async fn serve_until_killed() {
    let variable = |name: &str| std::env::var(name).ok();
    let address: SocketAddr = format!(
        "{}:{}",
        variable("HOST").unwrap(),
        variable("PORT").unwrap()
    )
    .parse()
    .unwrap();
    let _child = variable("GRANDCHILD").map(|seconds| {
        std::process::Command::new("sleep")
            .arg(seconds)
            .spawn()
            .unwrap()
    });
    if variable("DEAF").is_some() {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::spawn(async move { while terminate.recv().await.is_some() {} });
    }
    let health = if variable("BROKEN").is_some() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let app = Router::new()
        .route("/health", get(move || async move { health }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route(
            "/variable/{name}",
            get(|Path(name): Path<String>| async move { std::env::var(name).unwrap_or_default() }),
        )
        .route("/crash", post(crash));
    println!("listening on {address}");
    eprintln!("errors go here");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}

async fn crash() -> StatusCode {
    std::process::exit(3)
}
