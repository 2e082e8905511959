//! Tests of the decisions that people can make on a running `serve`: approving or rejecting held
//! operations, silencing targets, and giving feedback on findings.

use std::time::Duration;

use anomalyzer_service::{Service, config};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::serve::start;
use crate::wait::until;

const MINUTE: Duration = Duration::from_secs(60);

/// A `serve` that asks before it acts, with a process group and a token for each role.
struct Host {
    running: Service,
    shutdown: CancellationToken,
    folder: TempDir,
    http: reqwest::Client,
}

impl Host {
    async fn on(folder: TempDir) -> Self {
        let token = |role: &str| {
            let hash = hex::encode(Sha256::digest(format!("the token of the {role}")));
            format!("{{ name = 'the {role}', role = '{role}', sha256 = '{hash}' }}")
        };
        let text = format!(
            "data_dir = '{}'\n[api]\nlisten = '127.0.0.1:0'\ntokens = [{}, {}]\n[plugins]\nfolder = '{}'\n\
             [guard]\nmode = 'approve'\n[verify]\nsettle = '0s'\nobserve = '0s'\n[notify.channels.log]\ntype = 'log'\n\
             [local.groups.web]\ncommand = ['sleep', '600']\nfirst_port = 9\nstop_timeout = '1s'\n",
            folder.path().display(),
            token("viewer"),
            token("approver"),
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        );
        let config = config::parse("test.toml".as_ref(), &text).unwrap();
        let shutdown = CancellationToken::new();
        let running = start(config, &shutdown).await;
        Self {
            running,
            shutdown,
            folder,
            http: reqwest::Client::new(),
        }
    }

    async fn restarted(self) -> Self {
        self.shutdown.cancel();
        self.running.ended().await;
        Self::on(self.folder).await
    }

    fn ask(&self, role: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.running.address());
        self.http
            .request(method, url)
            .bearer_auth(format!("the token of the {role}"))
    }

    async fn get(&self, path: &str) -> Value {
        self.ask("viewer", Method::GET, path)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn replicas(&self) -> u32 {
        let target = anomalyzer_domain::Target::new("", "Process", "web");
        let local = self.running.local().unwrap();
        let snapshot = anomalyzer_operator::Operator::inspect(local.as_ref(), &target)
            .await
            .unwrap();
        snapshot.replicas.unwrap().desired
    }
}

#[tokio::test]
async fn what_is_held_waits_over_a_restart_and_is_done_when_an_approver_says_yes() {
    let host = Host::on(tempfile::tempdir().unwrap()).await;
    let body = json!({"target": "default//Process/web", "reason": "a sale begins"});
    let asked = host
        .ask("approver", Method::POST, "/action/scale-up")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), StatusCode::ACCEPTED);
    let path = asked.json::<Value>().await.unwrap()["url"]
        .as_str()
        .unwrap()
        .to_owned();
    until("it is held", MINUTE, async || {
        (host.get(&path).await["state"] == "held").then_some(())
    })
    .await;
    let host = host.restarted().await;
    let held = host.get("/api/v1/decisions?state=held").await;
    let question = &held["decisions"][0]["question"];
    assert_eq!(question["operation"]["replicas"], 2, "{held}");
    let yes = json!({"question": question["id"], "reason": "it is mine"});
    let approve = format!("{path}/approve");
    let refused = host
        .ask("viewer", Method::POST, &approve)
        .json(&yes)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (refused.status(), host.replicas().await),
        (StatusCode::FORBIDDEN, 1)
    );
    let other = json!({"question": "0123456789abcdef", "reason": "it is mine"});
    let refused = host
        .ask("approver", Method::POST, &approve)
        .json(&other)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let taken = host
        .ask("approver", Method::POST, &approve)
        .json(&yes)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), StatusCode::OK);
    until("it is done", MINUTE, async || {
        (host.get(&path).await["state"] == "done").then_some(())
    })
    .await;
    let done = host.get(&path).await;
    assert_eq!(host.replicas().await, 2);
    assert_eq!(
        (&done["answers"][0]["by"], &done["answers"][0]["reason"]),
        (&json!("the approver"), &json!("it is mine"))
    );
    assert_eq!(done["operations"][0]["version"], "1");
    host.shutdown.cancel();
    host.running.ended().await;
}

#[tokio::test]
async fn silences_are_set_listed_and_ended_and_hold_over_a_restart() {
    let host = Host::on(tempfile::tempdir().unwrap()).await;
    const DOOR: &str = "/api/v1/silences";
    let good =
        json!({"targets": {"namespace": "shop", "name": "web*"}, "for": "2h", "why": "a test"});
    let refused = host
        .ask("viewer", Method::POST, DOOR)
        .json(&good)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let made = host
        .ask("approver", Method::POST, DOOR)
        .json(&good)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let silence: Value = made.json().await.unwrap();
    assert_eq!(silence["by"], "the approver");
    for (key, wrong) in [
        ("why", json!(" ")),
        ("for", json!("0s")),
        ("for", json!("900h")),
        ("targets", json!({})),
    ] {
        let mut body = good.clone();
        body[key] = wrong;
        let refused = host
            .ask("approver", Method::POST, DOOR)
            .json(&body)
            .send()
            .await
            .unwrap();
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["status"], 422, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(key) && problem["remedy"] != "",
            "{problem}"
        );
    }
    let host = host.restarted().await;
    assert_eq!(host.get(DOOR).await, json!({"silences": [silence]}));
    let one = format!("{DOOR}/{}", silence["id"].as_str().unwrap());
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        assert_eq!(
            host.ask("approver", Method::DELETE, &one)
                .send()
                .await
                .unwrap()
                .status(),
            status
        );
    }
    assert_eq!(host.get(DOOR).await, json!({"silences": []}));
    host.shutdown.cancel();
    host.running.ended().await;
}

#[tokio::test]
async fn what_people_say_of_findings_is_kept_and_shown() {
    use anomalyzer_common::clock::now_ms;

    use crate::serve::{configured, show, show_ordinary};

    let folder = tempfile::tempdir().unwrap();
    let at_once = "[incidents]\nconfirm_after = '1h'\nquiet_for = '100ms'\n";
    let shutdown = CancellationToken::new();
    let running = start(configured(folder.path(), at_once), &shutdown).await;
    let url = |path: &str| format!("http://{}{path}", running.address());
    let http = reqwest::Client::new();
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let mut request = http.request(method, url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let bus = running.bus();
    show_ordinary(bus.as_ref(), &running).await;
    let findings = async || {
        let (_, incidents) = ask(Method::GET, "/api/v1/incidents", None).await;
        let all = incidents["incidents"].as_array().unwrap().clone();
        all.iter()
            .flat_map(|incident| incident["findings"].as_array().unwrap().clone())
            .collect::<Vec<_>>()
    };
    show(bus.as_ref(), now_ms(), 6.0, 6.0).await;
    let first = until("something is found", MINUTE, async || {
        findings().await.first().cloned()
    })
    .await;
    let id = first["id"].as_str().unwrap();
    for _ in 0..4 {
        let (status, judged) = ask(
            Method::POST,
            &format!("/api/v1/feedback/{id}"),
            Some(json!({"useful": false})),
        )
        .await;
        assert_eq!(status, StatusCode::OK, "{judged}");
    }
    let (_, listed) = ask(Method::GET, "/api/v1/feedback", None).await;
    assert_eq!(listed["feedback"][0]["threshold"], 5.0, "{listed}");
    let (status, problem) = ask(
        Method::POST,
        "/api/v1/feedback/find-none",
        Some(json!({"useful": true})),
    )
    .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
    let path = format!(
        "/api/v1/feedback/{}",
        listed["feedback"][0]["id"].as_str().unwrap()
    );
    assert_eq!(ask(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(
        ask(Method::DELETE, &path, None).await.0,
        StatusCode::NOT_FOUND
    );
    shutdown.cancel();
    running.ended().await;
}
