//! Test that no secret in an address of the configuration is shown: the program runs with one in
//! each setting that holds an address, and nothing answers there.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;

use crate::receiver::nobody;
use crate::wait::until;

const MARK: &str = "hunter2";
const MINUTE: Duration = Duration::from_secs(60);

/// The program. It is killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a configuration with a secret in each address. `world` serves the metric `m`.
fn configured(folder: &Path, api: &str, world: &str, closed: &str) -> String {
    let with = |place: &str, path: &str| {
        format!("http://{MARK}user:{MARK}@{place}{path}?key={MARK}#{MARK}")
    };
    let signal = |name: &str, source: &str| {
        format!(
            "[[signal]]\nname = '{name}'\nmeaning = 'errors'\nsource = {source}\n\
             target = {{ kind = 'Case', name = '{name}' }}\n\
             detectors = [{{ name = 'error-rate', settings = {{ limit = 1e-9 }} }}]\n"
        )
    };
    format!(
        "data_dir = '{}'\nsilent_after = '3s'\n[api]\nlisten = '{api}'\n\
         [plugins]\nfolder = '{}'\n\
         [collect]\ninterval = '1s'\n[collect.prometheus]\nurl = '{}'\n\
         [[collect.scrape]]\njob = 'x'\ntargets = {{ urls = ['{}', '{}'] }}\n\
         [[collect.scrape]]\njob = 'y'\ntargets = {{ http_sd = '{}' }}\n\
         [incidents]\nconfirm_after = '1s'\n\
         [ollama]\nurl = '{}'\nmodel = 'small'\nbreaker_after = 1000\n\
         [anchor]\nevery = '1s'\nwebhook = '{}'\n\
         [notify]\nattempts = 1\n\
         [notify.channels.hook]\ntype = 'webhook'\ndefault = true\nurl = '{}'\n\
         [notify.channels.people]\ntype = 'alertmanager'\ndefault = true\nurl = '{}'\n\
         [notify.channels.chat]\ntype = 'slack'\ndefault = true\nurl = '{}'\n\
         [[http.credentials]]\nurl = 'http://{MARK}@{closed}/'\nvalue_file = '/none'\n{}{}",
        folder.display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        with(closed, "/"),
        with(world, "/metrics"),
        with(closed, "/metrics"),
        with(closed, "/sd"),
        with(closed, "/"),
        with(closed, &format!("/hooks/{MARK}")),
        with(closed, &format!("/hooks/{MARK}")),
        with(closed, "/"),
        with(closed, &format!("/services/{MARK}")),
        signal("x", "{ gauge = { of = 'm' } }"),
        signal("q", "{ query = 'up' }"),
    )
}

async fn text(url: String) -> Option<String> {
    let client = anomalyzer_common::http_client::client(MINUTE).ok()?;
    client.get(url).send().await.ok()?.text().await.ok()
}

#[tokio::test]
async fn no_secret_of_an_address_is_in_the_log_the_health_the_metrics_or_a_record() {
    let world = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = world.local_addr().unwrap().to_string();
    let metrics = Router::new().route("/metrics", get(|| async { "m 3\n" }));
    tokio::spawn(async move { axum::serve(world, metrics).await });

    let folder = tempfile::tempdir().unwrap();
    let (api, closed) = (nobody().await.to_string(), nobody().await.to_string());
    let (config, log) = (folder.path().join("a.toml"), folder.path().join("log"));
    let text_of_config = configured(&folder.path().join("data"), &api, &place, &closed);
    std::fs::write(&config, text_of_config).unwrap();
    let output = File::create(&log).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_anomalyzer"));
    // Variables that would override the addresses of the configuration.
    for name in [
        "KAFKA_BROKERS",
        "OLLAMA_HOST",
        "OLLAMA_MODEL",
        "PROMETHEUS_URL",
        "KUBECONFIG",
    ] {
        program.env_remove(name);
    }
    let program = program
        .args(["serve", "--config"])
        .arg(&config)
        .env("RUST_LOG", "info,anomalyzer=debug")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let _program = Program(program.unwrap());

    let decisions = format!("http://{api}/api/v1/decisions");
    let ended = until("a decision is over", 3 * MINUTE, async || {
        let page: Value = serde_json::from_str(&text(decisions.clone()).await?).ok()?;
        let page = page["decisions"].as_array()?.clone();
        let is_over = |one: &&Value| {
            let state = one["state"].as_str();
            matches!(state, Some("done" | "failed" | "denied"))
                && one["analyst"]["prompt"] != Value::Null
        };
        page.iter().find(is_over)?["id"].as_str().map(str::to_owned)
    })
    .await;
    let anchor = format!("http://{closed}/…: ");
    let log = until("the anchor fails", MINUTE, async || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains(&anchor).then_some(log)
    })
    .await;
    let mut shown = vec![("log", log)];
    for (name, path) in [
        ("health", "/health".to_owned()),
        ("metrics", "/metrics".to_owned()),
        ("signals", "/api/v1/signals".to_owned()),
        ("incidents", "/api/v1/incidents".to_owned()),
        ("decisions", "/api/v1/decisions".to_owned()),
        ("decision", format!("/api/v1/decisions/{ended}")),
    ] {
        shown.push((name, text(format!("http://{api}{path}")).await.unwrap()));
    }
    for (name, text) in &shown {
        let line = text.lines().find(|line| line.contains(MARK));
        assert_eq!(line, None, "the {name} shows a secret");
    }
    // The addresses were shown, without their secrets.
    let (_, decision) = shown.last().unwrap();
    assert!(
        decision.contains(&format!("ollama at http://{closed}/…")),
        "{decision}"
    );
}
