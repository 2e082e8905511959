//! Tests of the demo application and its traffic, over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anomalyzer_common::http_client;
use anomalyzer_demo::app::DemoAppArgs;
use anomalyzer_demo::load::{DemoLoadArgs, Load, LoadSettings};
use anomalyzer_demo::{app, load};
use anomalyzer_testbed::ports;
use clap::Parser;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Parser)]
struct AppCommand {
    #[command(flatten)]
    args: DemoAppArgs,
}

#[derive(Parser)]
struct LoadCommand {
    #[command(flatten)]
    args: DemoLoadArgs,
}

/// Running application. It stops when dropped.
pub struct App {
    pub url: String,
    _ends: DropGuard,
}

async fn free_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub async fn start(args: &[&str]) -> App {
    let args = AppCommand::parse_from([&["demo-app"], args].concat()).args;
    let (listener, address) = free_port().await;
    let shutdown = CancellationToken::new();
    let ends = shutdown.clone().drop_guard();
    tokio::spawn(async move { app::serve(listener, &args, shutdown).await.unwrap() });
    App {
        url: format!("http://{address}"),
        _ends: ends,
    }
}

fn client() -> reqwest::Client {
    http_client::client(Duration::from_secs(5)).unwrap()
}

impl App {
    async fn status(&self, path: &str) -> u16 {
        client()
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    pub async fn post(&self, path: &str) -> u16 {
        client()
            .post(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    async fn delete(&self, path: &str) -> u16 {
        client()
            .delete(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// Returns the sum of the samples of metric `name` whose labels contain `with`.
    async fn metric(&self, name: &str, with: &str) -> f64 {
        let text = client()
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let rest = text.lines().filter_map(|line| line.strip_prefix(name));
        let ours = rest.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(with));
        ours.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(
            Instant::now() < deadline,
            "{what} did not come about in 20 s"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn settings(rate: f64) -> LoadSettings {
    LoadSettings {
        rate,
        noise: 0.0,
        amplitude: 0.0,
        ..LoadSettings::default()
    }
}

/// Sends traffic to `apps` until the guard is dropped.
fn send(apps: &[&App], settings: &LoadSettings) -> (Load, DropGuard) {
    let (_, targets) = watch::channel(apps.iter().map(|app| app.url.clone()).collect());
    let shutdown = CancellationToken::new();
    (
        Load::start(targets, settings, shutdown.clone()).unwrap(),
        shutdown.drop_guard(),
    )
}

#[tokio::test]
async fn too_much_traffic_fills_the_queue_and_is_turned_away_and_the_metrics_say_so() {
    let app = start(&["--workers=1", "--queue=4", "--work-ms=50"]).await;
    let (load, _ends) = send(&[&app], &settings(200.0));
    until("a full queue", async || {
        load.status().refused > 20 && load.status().succeeded > 20
    })
    .await;
    assert!(
        app.metric("app_requests_errors_total", "status=\"503\"")
            .await
            >= 20.0
    );
    assert!(app.metric("app_queue_length", "").await > 0.0);
    assert_eq!(app.metric("app_workers_busy", "").await, 1.0);
    // Served requests waited for the requests before them: the latency comes from queueing.
    let seconds = app
        .metric("http_request_duration_seconds_sum", "status=\"200\"")
        .await;
    let count = app
        .metric("http_request_duration_seconds_count", "status=\"200\"")
        .await;
    assert!(
        seconds / count > 0.1,
        "a mean of {} s for 0.05 s of work",
        seconds / count
    );
}

#[tokio::test]
async fn a_limit_turns_away_what_comes_above_it_and_serves_the_rest_in_time() {
    let app = start(&["--work-ms=5", "--rate-limit=20"]).await;
    let (load, _ends) = send(&[&app], &settings(100.0));
    until("200 requests", async || load.status().sent > 200).await;
    let limited = app
        .metric("http_request_duration_seconds_count", "status=\"429\"")
        .await;
    let served = app
        .metric("http_request_duration_seconds_count", "status=\"200\"")
        .await;
    assert!(
        limited > served && served >= 20.0,
        "{served} were served and {limited} turned away"
    );
    // Requests that are turned away on purpose do not count as errors.
    assert_eq!(
        app.metric("app_requests_errors_total", "status=\"429\"")
            .await,
        0.0
    );
}

#[tokio::test]
async fn more_replicas_serve_more() {
    let args = ["--workers=1", "--queue=2", "--work-ms=50"];
    let (alone, first, second, third) =
        tokio::join!(start(&args), start(&args), start(&args), start(&args));
    let (one, _one_ends) = send(&[&alone], &settings(100.0));
    let (three, _three_ends) = send(&[&first, &second, &third], &settings(100.0));
    until("300 requests to each", async || {
        one.status().sent > 300 && three.status().sent > 300
    })
    .await;
    let share = |load: &Load| {
        let status = load.status();
        status.succeeded as f64 / (status.succeeded + status.refused) as f64
    };
    assert!(
        share(&three) > 1.5 * share(&one),
        "one served {}, three served {}",
        share(&one),
        share(&three)
    );
}

#[tokio::test]
async fn a_leak_grows_the_memory_for_real_up_to_its_cap_and_clearing_gives_it_back() {
    // Use a separate process, because other tests in this one allocate and free memory as well.
    let address = format!("127.0.0.1:{}", ports::free().unwrap());
    let listen = format!("--listen={address}");
    let program = env!("CARGO_BIN_EXE_anomalyzer");
    let mut process = tokio::process::Command::new(program);
    let _process = process
        .args(["demo-app", &listen, "--leak-cap-mib=200"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let app = App {
        url: format!("http://{address}"),
        _ends: CancellationToken::new().drop_guard(),
    };
    let answers = async || {
        client()
            .get(format!("{}/healthz", app.url))
            .send()
            .await
            .is_ok()
    };
    until("an application that answers", answers).await;
    const MIB: f64 = 1048576.0;
    let before = app.metric("process_resident_memory_bytes", "").await;
    assert_eq!(app.post("/fault/leak?strength=500").await, 200);
    until("a leak of 150 MiB", async || {
        app.metric("process_resident_memory_bytes", "").await > before + 150.0 * MIB
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let grown = app.metric("process_resident_memory_bytes", "").await;
    assert!(
        grown < before + 260.0 * MIB,
        "the cap of 200 MiB was passed: {} MiB",
        (grown - before) / MIB
    );
    assert_eq!(app.delete("/fault/leak").await, 200);
    until("the memory's return", async || {
        app.metric("process_resident_memory_bytes", "").await < grown - 150.0 * MIB
    })
    .await;
}

#[tokio::test]
async fn a_muted_application_serves_on_without_metrics() {
    let app = start(&[]).await;
    assert_eq!(app.post("/fault/mute").await, 200);
    assert_eq!(
        (
            app.status("/metrics").await,
            app.status("/").await,
            app.status("/healthz").await
        ),
        (404, 200, 200)
    );
    assert_eq!(app.delete("/fault").await, 200);
    assert_eq!(app.status("/metrics").await, 200);
}

#[tokio::test]
async fn a_hanging_application_answers_nothing_until_it_is_told_to() {
    let app = start(&[]).await;
    assert_eq!(app.post("/fault/hang").await, 200);
    let impatient = http_client::client(Duration::from_millis(300)).unwrap();
    for path in ["/", "/metrics", "/healthz"] {
        let answer = impatient.get(format!("{}{path}", app.url)).send().await;
        assert!(answer.unwrap_err().is_timeout(), "{path} was answered");
    }
    assert_eq!(app.delete("/fault/hang").await, 200);
    assert_eq!(app.status("/").await, 200);
}

#[tokio::test]
async fn the_faults_errors_and_slow_do_what_they_say() {
    let app = start(&["--work-ms=1"]).await;
    assert_eq!(app.post("/fault/errors?strength=1").await, 200);
    assert_eq!(app.status("/checkout").await, 500);
    assert_eq!(app.delete("/fault").await, 200);
    assert_eq!(app.status("/checkout").await, 200);

    let body = client()
        .post(format!("{}/fault/slow", app.url))
        .body(r#"{"strength": 500, "for": "1m"}"#);
    assert_eq!(body.send().await.unwrap().status(), 200);
    let asked = Instant::now();
    assert_eq!(app.status("/checkout").await, 200);
    assert!(
        asked.elapsed() > Duration::from_millis(50),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_wrong_fault_is_answered_with_what_there_is() {
    let app = start(&[]).await;
    let answer = client()
        .post(format!("{}/fault/lek", app.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("leak, slow, errors, hang, blip, mute")
    );
    assert_eq!(app.post("/fault/errors?strength=2").await, 400);
    assert_eq!(app.post("/fault/errors?strenght=1").await, 400);
}

#[tokio::test]
async fn the_load_follows_the_discovered_targets_and_surges_on_demand() {
    let app = start(&[]).await;
    let address = app.url.strip_prefix("http://").unwrap().to_owned();
    let (sd_listener, sd) = free_port().await;
    let list = serde_json::json!([{ "targets": [address], "labels": {} }]);
    let discovery = axum::Router::new().route("/sd", axum::routing::get(async || axum::Json(list)));
    tokio::spawn(async move { axum::serve(sd_listener, discovery).await });

    let targets_url = format!("--targets-url=http://{sd}/sd");
    let args = LoadCommand::parse_from(["demo-load", &targets_url, "--rate=20", "--noise=0"]).args;
    let (listener, control) = free_port().await;
    let shutdown = CancellationToken::new();
    let load = tokio::spawn(load::serve(listener, args, shutdown.clone()));
    let status = async || {
        let answer = client()
            .get(format!("http://{control}/status"))
            .send()
            .await
            .unwrap();
        answer.json::<Value>().await.unwrap()
    };
    until("answered traffic", async || {
        status().await["succeeded"].as_u64() > Some(5)
    })
    .await;
    let surge = client()
        .post(format!("http://{control}/surge?factor=4&for=5s"))
        .send()
        .await
        .unwrap();
    assert_eq!(surge.json::<Value>().await.unwrap()["factor"], 4.0);
    until("the surge in the rate", async || {
        status().await["rate"].as_f64() > Some(75.0)
    })
    .await;
    until("the end of the surge", async || {
        status().await["rate"].as_f64() < Some(25.0)
    })
    .await;
    shutdown.cancel();
    load.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_to_nobody_and_requests_that_hang_are_counted_and_bounded() {
    let (load, _ends) = send(&[], &settings(200.0));
    until("dropped requests", async || load.status().dropped > 10).await;
    assert_eq!(load.status().sent, 0);

    let app = start(&[]).await;
    assert_eq!(app.post("/fault/hang").await, 200);
    let impatient = LoadSettings {
        timeout: Duration::from_millis(200),
        in_flight: 5,
        ..settings(200.0)
    };
    let (load, _ends) = send(&[&app], &impatient);
    until("time-outs", async || {
        load.status().timed_out > 5 && load.status().dropped > 5
    })
    .await;
    assert!(load.status().in_flight <= 5);
}
