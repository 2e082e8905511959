//! Tests of plugins that are added to and removed from a running `serve`, by upload and through the
//! plugin folder.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anomalyzer_service::{Service, config};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use anomalyzer_test_support::guest::{self, Detector, SPIN};

use crate::serve::start;
use crate::wait::until;

const MINUTE: Duration = Duration::from_secs(60);
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins");

/// A `serve` with `zscore` in its plugin folder, no grants, and a token for each role.
struct Host {
    running: Option<Service>,
    shutdown: CancellationToken,
    folder: TempDir,
    http: reqwest::Client,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Host {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        fs::copy(
            format!("{PLUGINS}/zscore.wasm"),
            folder.path().join("plugins/zscore.wasm"),
        )
        .unwrap();
        Self::on(folder).await
    }

    async fn on(folder: TempDir) -> Self {
        Self::listening_on(folder, "127.0.0.1:0").await
    }

    async fn listening_on(folder: TempDir, address: &str) -> Self {
        let token = |role: &str| {
            let hash = hex::encode(Sha256::digest(format!("the token of the {role}")));
            format!("{{ name = 'the {role}', role = '{role}', sha256 = '{hash}' }}")
        };
        let text = format!(
            "data_dir = '{0}'\ngrant = []\n[api]\nlisten = '{address}'\ntokens = [{1}, {2}, {3}, {4}]\n\
             [plugins]\nfolder = '{0}/plugins'\n[plugins.limits]\ndescribe_deadline = '2s'\n[notify.channels.log]\ntype = 'log'\n[guard]\ncooldown = '0s'\n",
            folder.path().display(),
            token("viewer"),
            token("approver"),
            token("uploader"),
            token("admin"),
        );
        let mut config = config::parse("test.toml".as_ref(), &text).unwrap();
        config.plugins.compiler = Some(env!("CARGO_BIN_EXE_anomalyzer").into());
        let shutdown = CancellationToken::new();
        let running = start(config, &shutdown).await;
        Self {
            running: Some(running),
            shutdown,
            folder,
            http: reqwest::Client::new(),
        }
    }

    async fn restarted(mut self) -> Self {
        self.shutdown.cancel();
        self.running.take().unwrap().ended().await;
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Self::on(folder).await
    }

    fn ask(&self, role: &str, method: Method, path: &str) -> RequestBuilder {
        let address = self.running.as_ref().unwrap().address();
        let url = format!("http://{address}{path}");
        self.http
            .request(method, url)
            .bearer_auth(format!("the token of the {role}"))
            .timeout(MINUTE)
    }

    fn upload(&self, role: &str, bytes: Vec<u8>) -> RequestBuilder {
        self.ask(role, Method::POST, "/api/v1/plugins")
            .header("content-type", "application/wasm")
            .body(bytes)
    }

    async fn plugin(&self, name: &str) -> Value {
        done(
            self.ask("viewer", Method::GET, &format!("/api/v1/plugins/{name}")),
            StatusCode::OK,
        )
        .await
    }

    async fn act(&self, name: &str) -> Value {
        let request = self.ask(
            "approver",
            Method::POST,
            &format!("/action/{name}?wait=30s"),
        );
        let request = request.json(&json!({ "target": { "kind": "Process", "name": "web" } }));
        done(request, StatusCode::OK).await
    }

    fn put(&self, file: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join("plugins").join(file), bytes).unwrap();
    }
}

async fn done(request: RequestBuilder, status: StatusCode) -> Value {
    let answer = request.send().await.unwrap();
    let (told, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(told, status, "{text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn shipped(name: &str) -> Vec<u8> {
    let path = Path::new(PLUGINS).join(format!("{name}.wasm"));
    fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins`", path.display()))
}

/// Returns other bytes of the same plugin by adding an empty custom section.
fn other_build(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend([0, 2, 1, b'v']);
    bytes
}

#[tokio::test]
async fn an_uploaded_action_can_do_nothing_until_it_is_granted_and_all_of_it_is_on_record() {
    let host = Host::new().await;
    let stored = done(
        host.upload("uploader", shipped("alarm")),
        StatusCode::CREATED,
    )
    .await;
    assert_eq!(
        (&stored["live"], &stored["plugin"]["name"]),
        (&json!(false), &json!("alarm")),
        "nobody approved it"
    );
    let approve = host.ask("admin", Method::POST, "/api/v1/plugins/alarm/revert");
    let installed = done(
        approve.json(&json!({ "digest": stored["digest"] })),
        StatusCode::OK,
    )
    .await;
    assert_eq!(installed["granted"], json!([]));

    let denied = host.act("alarm").await;
    assert_eq!(
        (&denied["state"], &denied["guard"]["rule"]),
        (&json!("denied"), &json!("grants")),
        "{denied}"
    );

    let grants = json!({ "grants": [{ "operation": "notify" }] });
    let path = "/api/v1/plugins/alarm/grants";
    done(
        host.ask("uploader", Method::PUT, path).json(&grants),
        StatusCode::FORBIDDEN,
    )
    .await;
    let granted = done(
        host.ask("admin", Method::PUT, path).json(&grants),
        StatusCode::OK,
    )
    .await;
    assert_eq!(
        granted["granted"],
        json!([{ "operation": "notify", "scope": "*", "namespaces": ["*"] }])
    );
    assert_eq!(host.act("alarm").await["state"], "done");

    let mode = host
        .ask("admin", Method::PUT, "/api/v1/plugins/alarm/mode")
        .json(&json!({ "mode": "shadow" }));
    done(mode, StatusCode::OK).await;
    let shadowed = host.act("alarm").await;
    assert_eq!(shadowed["state"], "shadowed", "{shadowed}");

    let host = host.restarted().await;
    let plugin = host.plugin("alarm").await;
    assert_eq!(
        (&plugin["mode"], &plugin["granted"][0]["operation"]),
        (&json!("shadow"), &json!("notify"))
    );
    let version = &plugin["versions"][0];
    assert_eq!(
        (&version["origin"]["by"], &version["origin"]["address"]),
        (&json!("the uploader"), &json!("127.0.0.1"))
    );
    assert_eq!(
        version["approved_by"],
        json!({ "door": "admin", "by": "the admin" })
    );
    let changes: Vec<(&str, &str)> = plugin["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["kind"].as_str().unwrap(),
                change["by"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        changes,
        [
            ("mode_set", "the admin"),
            ("granted", "the admin"),
            ("reverted", "the admin"),
            ("stored", "the uploader")
        ]
    );
}

#[tokio::test]
async fn what_an_uploader_sends_in_place_of_a_plugin_waits_for_an_admin() {
    let host = Host::new().await;
    let before = host.plugin("zscore").await["digest"].clone();
    let stored = done(
        host.upload("uploader", other_build(shipped("zscore"))),
        StatusCode::CREATED,
    )
    .await;
    assert_eq!(
        (&stored["live"], &stored["plugin"]["digest"]),
        (&json!(false), &before)
    );
    assert!(
        stored["note"].as_str().unwrap().contains("/revert"),
        "{stored}"
    );
    let body = json!({ "digest": stored["digest"] });
    let revert = || host.ask("admin", Method::POST, "/api/v1/plugins/zscore/revert");
    done(
        host.ask("uploader", Method::POST, "/api/v1/plugins/zscore/revert")
            .json(&body),
        StatusCode::FORBIDDEN,
    )
    .await;
    let live = done(revert().json(&body), StatusCode::OK).await;
    assert_eq!(live["digest"], stored["digest"]);
    let back = done(revert(), StatusCode::OK).await;
    assert_eq!(back["digest"], before);
    done(
        revert().json(&json!({ "digest": "0123456789" })),
        StatusCode::CONFLICT,
    )
    .await;
}

#[tokio::test]
async fn the_own_metrics_tell_how_each_live_plugin_does() {
    let host = Host::new().await;
    let metrics = async || {
        let answer = host
            .ask("viewer", Method::GET, "/metrics")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    };
    let value = |text: &str, name: &str| {
        let start = format!("anomalyzer_plugin_{name}{{plugin=\"alarm\",version=\"0.1.0\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&start))
            .map(|value| value.parse::<f64>().unwrap())
    };
    assert_eq!(value(&metrics().await, "calls_total"), None);
    done(host.upload("admin", shipped("alarm")), StatusCode::CREATED).await;
    let grants = json!({ "grants": [{ "operation": "notify" }] });
    done(
        host.ask("admin", Method::PUT, "/api/v1/plugins/alarm/grants")
            .json(&grants),
        StatusCode::OK,
    )
    .await;
    assert_eq!(host.act("alarm").await["state"], "done");
    let text = metrics().await;
    // The plugin was instantiated, opened, and asked for a step twice.
    let calls = value(&text, "calls_total").unwrap();
    assert!(calls >= 4.0, "{text}");
    assert_eq!(
        (
            value(&text, "call_seconds_count"),
            value(&text, "faults_total")
        ),
        (Some(calls), Some(0.0)),
        "{text}"
    );
    assert!(
        value(&text, "call_seconds_sum").unwrap() > 0.0 && value(&text, "memory_bytes").is_some(),
        "{text}"
    );
    assert!(
        text.contains("anomalyzer_plugin_calls_total{plugin=\"zscore\","),
        "{text}"
    );
    done(
        host.ask("admin", Method::DELETE, "/api/v1/plugins/alarm?force=true"),
        StatusCode::NO_CONTENT,
    )
    .await;
    let text = metrics().await;
    assert!(!text.contains("plugin=\"alarm\""), "{text}");
}

#[tokio::test]
async fn a_file_in_the_folder_is_live_within_two_seconds_and_gone_with_it() {
    let host = Host::new().await;
    let path = "/api/v1/plugins/alarm";
    host.put("alarm.wasm", &shipped("alarm")[..1000]);
    let broken = async || {
        let all = done(
            host.ask("viewer", Method::GET, "/api/v1/plugins"),
            StatusCode::OK,
        )
        .await;
        all["health"]["broken"][0].as_str().map(str::to_owned)
    };
    let why = until("the half file is told", MINUTE, broken).await;
    assert!(why.contains("alarm.wasm is not a usable plugin"), "{why}");
    host.put("alarm.wasm", &shipped("alarm"));
    let there = async || {
        let answer = host.ask("viewer", Method::GET, path).send().await.unwrap();
        (answer.status() == StatusCode::OK).then_some(())
    };
    until("the file is live", MINUTE, there).await;
    let refused = done(
        host.ask("admin", Method::DELETE, path),
        StatusCode::CONFLICT,
    )
    .await;
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("in the plugin folder"),
        "{refused}"
    );
    fs::remove_file(host.folder.path().join("plugins/alarm.wasm")).unwrap();
    let gone = async || {
        let answer = host.ask("viewer", Method::GET, path).send().await.unwrap();
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    };
    until("the file is gone", MINUTE, gone).await;
}

#[tokio::test]
async fn an_upload_that_is_too_large_is_told_how_much_is_taken() {
    let host = Host::new().await;
    let head =
        "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"p.wasm\"\r\n\r\n";
    let form = host
        .ask("admin", Method::POST, "/api/v1/plugins")
        .header("content-type", "multipart/form-data; boundary=edge")
        .body([head.as_bytes(), &vec![0; 33 << 20], b"\r\n--edge--\r\n"].concat());
    for upload in [host.upload("admin", vec![0; 33 << 20]), form] {
        let problem = done(upload, StatusCode::PAYLOAD_TOO_LARGE).await;
        let remedy = problem["remedy"].as_str().unwrap();
        assert!(
            remedy.starts_with("send at most 32 MiB") && remedy.contains("`max_component_bytes`"),
            "{problem}"
        );
    }
    let grants = json!({ "grants": [{ "operation": "x".repeat(1 << 20) }] });
    let long = host
        .ask("admin", Method::PUT, "/api/v1/plugins/zscore/grants")
        .json(&grants);
    let problem = done(long, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(
        problem["remedy"], "send at most 1 MiB",
        "the other doors take as much as before"
    );
}

#[tokio::test]
async fn a_form_will_do_and_what_is_no_plugin_is_refused_with_the_reason() {
    let host = Host::new().await;
    let form = |name: &str, bytes: &[u8]| {
        let head = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"p.wasm\"\r\n\r\n"
        );
        let body = [head.as_bytes(), bytes, b"\r\n--edge--\r\n"].concat();
        let request = host.ask("admin", Method::POST, "/api/v1/plugins");
        request
            .header("content-type", "multipart/form-data; boundary=edge")
            .body(body)
    };
    done(form("file", &shipped("no-action")), StatusCode::CREATED).await;
    for (request, status, why) in [
        (
            form("plugin", &shipped("alarm")),
            StatusCode::BAD_REQUEST,
            "it has a part `plugin`",
        ),
        (
            form("signature", b"x"),
            StatusCode::BAD_REQUEST,
            "no part `file`",
        ),
        (
            host.upload("admin", b"not wasm".to_vec()),
            StatusCode::UNPROCESSABLE_ENTITY,
            "",
        ),
        (
            host.upload("viewer", shipped("alarm")),
            StatusCode::FORBIDDEN,
            "viewer",
        ),
        (
            host.upload("admin", shipped("alarm"))
                .header("plugin-signature", "?"),
            StatusCode::BAD_REQUEST,
            "base64",
        ),
        (
            host.ask("admin", Method::POST, "/api/v1/plugins")
                .json(&json!({})),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "application/json",
        ),
        (
            host.ask("admin", Method::DELETE, "/api/v1/plugins/none"),
            StatusCode::NOT_FOUND,
            "`none`",
        ),
        (
            host.ask("admin", Method::PUT, "/api/v1/plugins/no-action/mode")
                .json(&json!({ "mode": "wild" })),
            StatusCode::UNPROCESSABLE_ENTITY,
            "wild",
        ),
    ] {
        let problem = done(request, status).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(why) && !problem["remedy"].as_str().unwrap().is_empty(),
            "{problem}"
        );
    }
    let names: Vec<Value> = done(
        host.ask("viewer", Method::GET, "/api/v1/plugins"),
        StatusCode::OK,
    )
    .await["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["no-action", "zscore"],
        "nothing of what was refused is there"
    );
    done(
        host.ask("admin", Method::DELETE, "/api/v1/plugins/no-action"),
        StatusCode::NO_CONTENT,
    )
    .await;
}

/// Returns a detector as a compiler leaves it, with the name of one package of the contract changed
/// where the encoder reads it. The two packages then depend on each other.
fn cycle() -> Vec<u8> {
    let mut module = guest::core_module("moody");
    let section = module.len() - find(&module, b"component-type").len();
    let at = section + module[section..].len()
        - find(&module[section..], b"anomalyzer:plugin/detector").len();
    module[at] = b'q';
    module
}

/// Returns the rest of the bytes from the first occurrence of `wanted`.
fn find<'b>(bytes: &'b [u8], wanted: &[u8]) -> &'b [u8] {
    let at = bytes.windows(wanted.len()).position(|it| it == wanted);
    &bytes[at.expect("it is in the module")..]
}

#[tokio::test]
async fn bytes_that_end_the_encoder_are_refused_through_every_door() {
    let host = Host::new().await;
    for role in ["uploader", "admin"] {
        let upload = host.upload(role, cycle());
        let problem = done(upload, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("nested too deeply"),
            "{problem}"
        );
    }
    host.put("cycle.wasm", &cycle());
    let broken = async || {
        let all = host.ask("viewer", Method::GET, "/api/v1/plugins");
        let all = done(all, StatusCode::OK).await;
        all["health"]["broken"][0].as_str().map(str::to_owned)
    };
    let why = until("the file is told", MINUTE, broken).await;
    assert!(why.contains("cycle.wasm is not a usable plugin"), "{why}");
    let host = host.restarted().await;
    assert_eq!(host.plugin("zscore").await["error"], Value::Null);
    let all = host.ask("viewer", Method::GET, "/api/v1/plugins");
    let all = done(all, StatusCode::OK).await;
    let broken = all["health"]["broken"][0].as_str().unwrap();
    assert!(
        broken.contains("cycle.wasm is not a usable plugin"),
        "{all}"
    );
}

#[tokio::test]
async fn the_api_answers_while_plugins_still_load() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let spins = Detector {
            name,
            start: SPIN,
            ..Detector::default()
        };
        let file = folder.path().join(format!("plugins/{name}.wasm"));
        fs::write(file, spins.build()).unwrap();
    }
    fs::copy(
        format!("{PLUGINS}/zscore.wasm"),
        folder.path().join("plugins/zscore.wasm"),
    )
    .unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let starting = Host::listening_on(folder, &address);
    let watching = async {
        let http = reqwest::Client::new();
        let url = format!("http://{address}/health");
        let loading = async || {
            let request = http.get(&url).bearer_auth("the token of the viewer");
            let health: Value = request.send().await.ok()?.json().await.ok()?;
            let detail = health["parts"]["plugins"]["detail"].as_str()?.to_owned();
            detail.starts_with("loading: ").then_some(())
        };
        until("the API answers that plugins load", MINUTE, loading).await;
        let url = format!("http://{address}/api/v1/plugins/nobody");
        let request = http.get(&url).bearer_auth("the token of the viewer");
        done(request, StatusCode::SERVICE_UNAVAILABLE).await
    };
    let (host, problem) = tokio::join!(starting, watching);
    assert_eq!(
        problem["type"], "urn:anomalyzer:problem:loading",
        "{problem}"
    );
    let loaded = async || {
        let all = host.ask("viewer", Method::GET, "/api/v1/plugins");
        let all = done(all, StatusCode::OK).await;
        (all["health"]["loading"] == 0).then_some(all)
    };
    let all = until("all plugins were tried", MINUTE, loaded).await;
    assert_eq!(
        all["health"]["broken"].as_array().unwrap().len(),
        6,
        "{all}"
    );
    assert_eq!(host.plugin("zscore").await["error"], Value::Null);
}

#[tokio::test]
async fn bodies_that_trickle_in_hold_up_their_sender_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let host = Host::new().await;
    let address = host.running.as_ref().unwrap().address();
    let mut slow = Vec::new();
    // One upload is received, three wait, and the rest is refused before its body is read.
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /api/v1/plugins HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer the token of the uploader\r\n\
             content-type: application/wasm\r\ncontent-length: 1000000\r\n\r\n\0asm"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut refused = 0;
    for stream in &mut slow {
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        if tokio::time::timeout(Duration::from_secs(2), read)
            .await
            .is_ok()
        {
            assert_eq!(&answer, b"HTTP/1.1 429");
            refused += 1;
        }
    }
    assert_eq!(refused, 4);
    done(host.upload("admin", shipped("alarm")), StatusCode::CREATED).await;
    drop(slow);
    let taken = async || {
        let answer = host.upload("uploader", shipped("no-action")).send().await;
        (answer.unwrap().status() == StatusCode::CREATED).then_some(())
    };
    until("the places are free again", 3 * MINUTE, taken).await;
}
