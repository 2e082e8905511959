//! Tests of the HTTP API over real sockets. A fake executor records the requests that it gets.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use anomalyzer_api::{
    Access, ApiConfig, ApiState, ApprovalAnswer, Backend, BackendError, EngineState, PartHealth,
    PartStatus, ProbeBackend, Role, TestMetric, Token, engine_router, router, serve,
};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{
    Decision, DecisionId, DecisionState, IncidentEvent, IncidentEventKind, Solution,
};
use anomalyzer_history::{DecisionEventKind, History};
use anomalyzer_remediate::AnswerError;
use async_trait::async_trait;
use proptest::prelude::*;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::{NOON, Place, done, event, in_state, incident, proposed, web};

/// Fake executor that records each solution as a decision that ends at once. Only a decision on
/// `investigate` never ends.
struct Parts {
    history: History,
    solutions: Mutex<Vec<Solution>>,
    metrics: Mutex<Vec<TestMetric>>,
    health: Mutex<Vec<PartHealth>>,
}

#[async_trait]
impl Backend for Parts {
    async fn submit(&self, solution: Solution) -> Result<(), BackendError> {
        self.solutions.lock().push(solution.clone());
        if solution.solution_type == "rate_limit" {
            return Err(BackendError::Unavailable("the bus is closed".to_owned()));
        }
        let mut decision = proposed(0);
        decision.id = DecisionId::from(solution.id);
        decision.target = solution.target;
        decision.explanation = solution.explanation;
        decision.solution = solution.solution_type;
        decision.provenance = solution.provenance;
        let history = self.history.clone();
        tokio::spawn(async move {
            history
                .record(event(DecisionEventKind::Proposed, decision.clone()))
                .await
                .unwrap();
            if decision.solution != "investigate" {
                for next in [DecisionState::Acting, DecisionState::Done] {
                    decision.transition(next).unwrap();
                }
                history
                    .record(event(DecisionEventKind::Ended, decision))
                    .await
                    .unwrap();
            }
        });
        Ok(())
    }

    async fn answer(&self, id: &DecisionId, said: ApprovalAnswer) -> Result<Decision, AnswerError> {
        match self.history.decision(id).await? {
            None => Err(AnswerError::NotFound(id.clone())),
            Some(decision) if decision.state() != DecisionState::Held => {
                Err(AnswerError::NotHeld(decision.state()))
            }
            Some(_) if said.question == "late" => Err(AnswerError::Expired(NOON)),
            Some(mut decision) => {
                decision.explanation = format!("{said:?}");
                Ok(decision)
            }
        }
    }

    async fn send_test_metric(&self, metric: TestMetric) -> Result<(), BackendError> {
        self.metrics.lock().push(metric);
        Ok(())
    }

    fn signals(&self) -> Value {
        json!({"signals": [{"name": "web_latency"}]})
    }

    fn plugins(&self) -> Value {
        json!({"plugins": []})
    }
}

impl ProbeBackend for Parts {
    fn health(&self) -> Vec<PartHealth> {
        self.health.lock().clone()
    }
}

struct Server {
    place: Place,
    parts: Arc<Parts>,
    address: SocketAddr,
    http: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn new() -> Self {
        Self::with(ApiConfig::default()).await
    }

    async fn with(config: ApiConfig) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            rustls::crypto::ring::default_provider()
                .install_default()
                .unwrap();
        });

        let place = Place::new().await;
        let parts = Arc::new(Parts {
            history: place.history.clone(),
            solutions: Mutex::default(),
            metrics: Mutex::default(),
            health: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = ApiState::new(
            Access::load(&config, config.listen).unwrap(),
            Arc::clone(&parts) as Arc<dyn Backend>,
            place.history.clone(),
            Metrics::default(),
            Arc::new(|| NOON),
            shutdown.clone(),
        );
        let task = tokio::spawn(serve(
            listener,
            router(state),
            Metrics::default(),
            shutdown.clone(),
        ));
        Self {
            place,
            parts,
            address,
            http: reqwest::Client::new(),
            shutdown,
            task,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
            .timeout(Duration::from_secs(20))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    async fn text(&self, path: &str) -> String {
        let response = self.get(path).send().await.unwrap();
        response.text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }
}

/// Sends a request and returns its problem document. Checks the status, the media type, and that
/// the document describes the problem and a remedy.
async fn problem(request: RequestBuilder) -> BTreeMap<String, Value> {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json",
        "{status}"
    );
    let problem: BTreeMap<String, Value> = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "detail", "remedy", "instance"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} is missing in {problem:?}"
        );
    }
    problem
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_a_problem() {
    let server = Server::new().await;
    insta::assert_json_snapshot!(problem(server.get("/api/v2/decisions")).await, @r#"
    {
      "detail": "there is nothing at /api/v2/decisions",
      "instance": "/api/v2/decisions",
      "remedy": "the paths are /health, /metrics, /metrics-test, /send-test-metric, /action/{name}, and decisions, incidents, signals, kill-switch, silences, feedback and plugins below /api/v1",
      "status": 404,
      "title": "There is nothing at this path",
      "type": "urn:anomalyzer:problem:unknown-path"
    }
    "#);
}

#[tokio::test]
async fn an_unknown_action_is_a_problem_that_names_the_eight() {
    let server = Server::new().await;
    let request = server.post("/action/reboot-everything", &json!({"target": web()}));
    insta::assert_json_snapshot!(problem(request).await, @r#"
    {
      "detail": "there is no action `reboot-everything`",
      "instance": "/action/reboot-everything",
      "remedy": "use one of scale-up, scale-down, restart-service, rate-limit, alarm, check-logs, investigate, no-action, or the name of an uploaded action",
      "status": 404,
      "title": "There is no such action",
      "type": "urn:anomalyzer:problem:unknown-action"
    }
    "#);
}

#[tokio::test]
async fn an_unknown_parameter_is_a_problem_that_names_it() {
    let server = Server::new().await;
    insta::assert_json_snapshot!(problem(server.get("/api/v1/decisions?sollution=scale_up")).await, @r#"
    {
      "detail": "Failed to deserialize query string: sollution: unknown field `sollution`, expected one of `target`, `solution`, `outcome`, `state`, `incident`, `from`, `to`, `text`, `limit`, `cursor`",
      "instance": "/api/v1/decisions",
      "remedy": "correct the parameter that the detail names",
      "status": 400,
      "title": "The query cannot be understood",
      "type": "urn:anomalyzer:problem:bad-query"
    }
    "#);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn whatever_is_wrong_with_a_request_is_a_problem_that_says_what() {
    let server = Server::new().await;
    let raw = |path: &str, kind: &str, body: &str| {
        server
            .request(Method::POST, path)
            .header("content-type", kind)
            .body(body.to_owned())
    };
    let target = json!({"target": web()});
    let long = format!("{{\"target\": \"{}\"}}", "a".repeat(1024 * 1024));
    let cases = [
        (
            404,
            "no decision `dec-1`",
            server.get("/api/v1/decisions/dec-1"),
        ),
        (
            404,
            "no incident `inc-1`",
            server.get("/api/v1/incidents/inc-1"),
        ),
        (
            405,
            "does not take DELETE",
            server.request(Method::DELETE, "/api/v1/decisions"),
        ),
        (405, "does not take GET", server.get("/action/scale-up")),
        (
            413,
            "length limit exceeded",
            raw("/action/scale-up", "application/json", &long),
        ),
        (
            415,
            "application/json",
            raw("/action/scale-up", "text/plain", "{}"),
        ),
        (
            415,
            "application/json",
            raw(
                "/send-test-metric",
                "application/x-www-form-urlencoded",
                "value=1",
            ),
        ),
        (
            400,
            "EOF while parsing",
            raw("/action/scale-up", "application/json", "{\"target\": "),
        ),
        (
            400,
            "line 1 column",
            raw("/action/scale-up", "application/json", "nonsense"),
        ),
        (
            400,
            "recursion limit",
            raw("/action/scale-up", "application/json", &"[".repeat(10_000)),
        ),
        (
            422,
            "missing field `target`",
            raw("/action/scale-up", "application/json", "{}"),
        ),
        (
            422,
            "unknown field `replicas`",
            server.post("/action/scale-up", &json!({"target": web(), "replicas": 3})),
        ),
        (
            422,
            "is not a target",
            server.post("/action/scale-up", &json!({"target": "web"})),
        ),
        (
            422,
            "is not a target",
            server.post(
                "/action/scale-up",
                &json!({"target": {"kind": "", "name": "web"}}),
            ),
        ),
        (
            422,
            "unknown field `kid`",
            server.post(
                "/action/scale-up",
                &json!({"target": {"kid": "", "name": "web"}}),
            ),
        ),
        (
            400,
            "is not a duration",
            server.post("/action/scale-up?wait=soon", &target),
        ),
        (
            400,
            "nobody waits longer",
            server.post("/action/scale-up?wait=1d", &target),
        ),
        (
            400,
            "unknown field `dry`",
            server.post("/action/scale-up?dry=run", &target),
        ),
        (
            400,
            "Idempotency-Key",
            server
                .post("/action/scale-up", &target)
                .header("idempotency-key", ""),
        ),
        (
            503,
            "the bus is closed",
            server.post("/action/rate-limit", &target),
        ),
        (
            422,
            "`samples`",
            server.post("/send-test-metric", &json!({"samples": 1})),
        ),
        (
            422,
            "`name`",
            server.post("/send-test-metric", &json!({"name": "a b"})),
        ),
        (400, "limit", server.get("/api/v1/decisions?limit=0")),
        (400, "limit", server.get("/api/v1/decisions?limit=501")),
        (400, "limit", server.get("/api/v1/incidents?limit=many")),
        (400, "cursor", server.get("/api/v1/decisions?cursor=x")),
        (
            400,
            "is not a target",
            server.get("/api/v1/decisions?target=web"),
        ),
        (
            400,
            "unknown variant `great`",
            server.get("/api/v1/decisions?outcome=great"),
        ),
        (
            400,
            "unknown variant `open`",
            server.get("/api/v1/decisions?state=open"),
        ),
        (
            400,
            "is not a time",
            server.get("/api/v1/decisions?from=yesterday"),
        ),
        (
            400,
            "duplicate field",
            server.get("/api/v1/decisions?text=a&text=b"),
        ),
        (
            400,
            "unknown field `opened`",
            server.get("/api/v1/incidents?opened=true"),
        ),
        (400, "UTF-8", server.get("/api/v1/decisions/%ff")),
    ];
    for (status, says, request) in cases {
        let problem = problem(request).await;
        assert_eq!(problem["status"], status, "{problem:?}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "`{says}` is not in {detail}");
    }
}

#[tokio::test]
async fn a_method_that_is_refused_comes_with_those_that_are_taken() {
    let server = Server::new().await;
    let response = server
        .request(Method::PUT, "/send-test-metric")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn an_action_becomes_a_solution_with_who_asked_and_can_be_waited_for() {
    let server = Server::new().await;
    let body = json!({"target": "default/shop/Deployment/web", "parameters": {"replicas": 3}, "reason": "a surge comes"});
    let response = server.post("/action/scale-up", &body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let accepted: Value = response.json().await.unwrap();
    let id = accepted["decision"].as_str().unwrap();
    assert_eq!(accepted["url"], format!("/api/v1/decisions/{id}"));

    let solution = server.parts.solutions.lock()[0].clone();
    assert_eq!(
        (solution.id.as_str(), solution.solution_type.as_str()),
        (id, "scale_up")
    );
    assert_eq!(
        (solution.target, solution.explanation.as_str()),
        (Some(web()), "a surge comes")
    );
    assert_eq!(solution.parameters["replicas"], 3);
    assert_eq!(
        (
            solution.provenance.source.as_str(),
            solution.provenance.by.as_str()
        ),
        ("api", "anonymous on loopback")
    );
    assert_eq!(
        (solution.proposed_at, solution.expires_at),
        (NOON, NOON + 600_000)
    );

    let response = server
        .post("/action/no-action?wait=20s", &json!({"target": web()}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let decision: Decision = response.json().await.unwrap();
    assert_eq!(
        (decision.state(), decision.solution.as_str()),
        (DecisionState::Done, "no_action")
    );
    assert_eq!(
        server
            .json(&format!("/api/v1/decisions/{}", decision.id))
            .await["state"],
        "done"
    );

    let response = server
        .post("/action/investigate?wait=50ms", &json!({"target": web()}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED, "it never ends");
}

#[tokio::test]
async fn a_request_repeated_with_its_key_is_one_decision() {
    let server = Server::new().await;
    let ask = async |key: &str| {
        let request = server
            .post("/action/scale-up?wait=20s", &json!({"target": web()}))
            .header("idempotency-key", key);
        request.send().await.unwrap().json::<Value>().await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = ask("a").await;
    assert_eq!(ask("a").await, first);
    assert_ne!(ask("b").await, first);
}

#[tokio::test]
async fn a_test_metric_is_a_window_that_ends_in_a_spike() {
    let server = Server::new().await;
    assert!(
        !server
            .text("/metrics-test")
            .await
            .contains("\nanomalyzer_test_metric")
    );
    let sent: Value = server
        .request(Method::POST, "/send-test-metric")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = sent["id"].as_str().unwrap();
    assert_eq!(sent["follow"], format!("/api/v1/decisions?text={id}"));
    let body = json!({"name": "a:b", "value": 5, "baseline": 1, "samples": 3, "target": web()});
    assert_eq!(
        server
            .post("/send-test-metric", &body)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::ACCEPTED
    );

    let sent = server.parts.metrics.lock().clone();
    assert_eq!(
        (sent[0].id.as_str(), sent[0].name.as_str(), sent[0].at),
        (id, "anomalyzer_test_metric", NOON)
    );
    let (spike, before) = sent[0].values.split_last().unwrap();
    assert_eq!((*spike, before.len()), (1000.0, 59));
    assert!(before.iter().all(|value| (value - 100.0).abs() < 10.0));
    assert!(
        before.windows(2).any(|pair| pair[0] != pair[1]),
        "a level window has no deviation"
    );
    assert_eq!(
        (sent[1].name.as_str(), &sent[1].target),
        ("a:b", &Some(web()))
    );
    assert_eq!((sent[1].values.len(), sent[1].values[2]), (3, 5.0));

    let text = server.text("/metrics-test").await;
    insta::assert_snapshot!(text, @r"
    # HELP anomalyzer_test_metric What /send-test-metric sent last.
    # TYPE anomalyzer_test_metric gauge
    anomalyzer_test_metric 5
    ");
}

#[tokio::test]
async fn health_is_as_bad_as_the_worst_part() {
    let server = Server::new().await;
    let part = |name: &str, status| PartHealth {
        name: name.to_owned(),
        status,
        detail: format!("about {name}"),
    };
    let health = server.json("/health").await;
    assert_eq!(
        (&health["status"], &health["parts"]["history"]["status"]),
        (&json!("ok"), &json!("ok"))
    );

    *server.parts.health.lock() = vec![
        part("bus", PartStatus::Ok),
        part("ollama", PartStatus::Degraded),
    ];
    let health = server.json("/health").await;
    assert_eq!(
        (&health["status"], &health["parts"]["ollama"]["detail"]),
        (&json!("degraded"), &json!("about ollama"))
    );

    server
        .parts
        .health
        .lock()
        .push(part("source", PartStatus::Broken));
    let response = server.get("/health").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.json::<Value>().await.unwrap()["status"], "broken");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    let server = Server::new().await;
    server.get("/api/v1/decisions/dec-1").send().await.unwrap();
    server.get("/etc/passwd").send().await.unwrap();
    let response = server.get("/metrics").send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    assert!(
        text.contains(
            "anomalyzer_http_requests_total{route=\"/api/v1/decisions/{id}\",status=\"404\"} 1\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("anomalyzer_http_requests_total{route=\"none\",status=\"404\"} 1\n"),
        "{text}"
    );
    assert!(!text.contains("passwd"));
}

#[tokio::test]
async fn ten_thousand_decisions_are_paged_streamed_and_searched() {
    let server = Server::new().await;
    let records = (0..10_000).map(|n| {
        let (history, decision) = (
            server.place.history.clone(),
            if n % 2 == 0 { proposed(n) } else { done(n) },
        );
        async move {
            history
                .record(event(DecisionEventKind::Proposed, decision))
                .await
                .unwrap()
        }
    });
    // Record the decisions in order, but with many in flight at once.
    use futures::StreamExt;
    futures::stream::iter(records)
        .buffered(200)
        .collect::<Vec<_>>()
        .await;

    let (mut pages, mut seen, mut cursor) = (0, Vec::new(), String::new());
    loop {
        let page = server
            .json(&format!("/api/v1/decisions?limit=500{cursor}"))
            .await;
        pages += 1;
        seen.extend(
            page["decisions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|decision| decision["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((pages, seen.len()), (20, 10_000));
    assert_eq!(seen[0], done(9_999).id.as_str());

    let lines = async |path: &str| {
        let response = server
            .get(path)
            .header("accept", "application/jsonl")
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], "application/jsonl");
        let text = response.text().await.unwrap();
        text.lines()
            .map(|line| {
                serde_json::from_str::<Decision>(line)
                    .unwrap()
                    .id
                    .to_string()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("/api/v1/decisions").await, seen);
    assert_eq!(lines("/api/v1/decisions?limit=7").await, seen[..7]);
    assert_eq!(
        lines("/api/v1/decisions?outcome=improved").await.len(),
        5_000
    );
    assert_eq!(
        lines("/api/v1/decisions?text=number+4711").await,
        [done(4711).id.to_string()]
    );
    let hour = "from=2026-01-31T13:00:00Z&to=2026-01-31T14:00:00Z";
    assert_eq!(lines(&format!("/api/v1/decisions?{hour}")).await.len(), 60);
    assert_eq!(
        server
            .json(&format!("/api/v1/decisions?target={}&limit=1", web()))
            .await["decisions"][0]["id"],
        seen[0]
    );
}

#[tokio::test]
async fn incidents_signals_and_plugins_are_listed() {
    let server = Server::new().await;
    let mut over = incident(1);
    over.cleared_at = Some(over.changed_at);
    for incident in [over.clone(), incident(2)] {
        let event = IncidentEvent::new(IncidentEventKind::Opened, NOON, incident);
        server.place.history.record_incident(&event).await.unwrap();
    }
    assert_eq!(
        server.json("/api/v1/incidents").await["incidents"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let open = server.json("/api/v1/incidents?open=true").await;
    assert_eq!(open, json!({"incidents": [incident(2)], "next": null}));
    assert_eq!(
        server.json(&format!("/api/v1/incidents/{}", over.id)).await,
        json!(over)
    );
    assert_eq!(
        server.json("/api/v1/signals").await["signals"][0]["name"],
        "web_latency"
    );
    assert_eq!(server.json("/api/v1/plugins").await, json!({"plugins": []}));
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_ask_nor_act() {
    let server = Server::new().await;
    let body = json!({"target": web()});
    let own = format!("http://{}", server.address);
    let act = |origin: &str| {
        server
            .post("/action/no-action", &body)
            .header("origin", origin)
    };
    assert_eq!(
        act(&own).send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://evil.example/http://127.0.0.1",
    ] {
        assert!(
            problem(act(origin)).await["type"]
                .as_str()
                .unwrap()
                .ends_with(":foreign-origin"),
            "{origin}"
        );
    }
    for host in [
        "evil.example",
        "evil.example:9000",
        "127.0.0.1.evil.example",
        "192.168.0.1",
    ] {
        let refused = problem(server.get("/api/v1/decisions").header("host", host)).await;
        assert!(
            refused["type"].as_str().unwrap().ends_with(":foreign-host"),
            "{host}"
        );
    }
    for host in [
        "localhost",
        "LOCALHOST:9000",
        "127.0.0.1:9000",
        "[::1]:9000",
        "127.8.8.8",
    ] {
        let response = server
            .get("/api/v1/decisions")
            .header("host", host)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{host}");
    }
    assert_eq!(server.parts.solutions.lock().len(), 1);
}

#[tokio::test]
async fn what_is_held_is_answered_by_an_approver_who_says_why() {
    let server = Server::with(tokens()).await;
    let held = in_state(1, &[DecisionState::Acting, DecisionState::Held]);
    let ended = in_state(2, &[DecisionState::Acting, DecisionState::Done]);
    for decision in [&held, &ended] {
        server
            .parts
            .history
            .record(event(DecisionEventKind::Held, decision.clone()))
            .await
            .unwrap();
    }
    let say = |id: &DecisionId, word: &str, who: &str, question: &str, reason: &str| {
        let body = json!({"question": question, "reason": reason});
        server
            .post(&format!("/api/v1/decisions/{id}/{word}"), &body)
            .bearer_auth(format!("secret of {who}"))
    };
    for (word, approved) in [("approve", true), ("reject", false)] {
        let answer = say(&held.id, word, "anna", "1234", " because ")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let decision: Decision = answer.json().await.unwrap();
        let said = ApprovalAnswer {
            question: "1234".into(),
            approved,
            by: "anna".into(),
            reason: "because".into(),
        };
        assert_eq!(decision.explanation, format!("{said:?}"));
    }
    let unknown = DecisionId::from("dec-unknown");
    let long = "x".repeat(5_000);
    for (id, word, who, question, reason, status, kind) in [
        (&held.id, "approve", "vera", "1234", "why", 403, "forbidden"),
        (
            &held.id,
            "approve",
            "ursula",
            "1234",
            "why",
            403,
            "forbidden",
        ),
        (&held.id, "approve", "anna", "1234", "  ", 422, "bad-field"),
        (
            &held.id,
            "approve",
            "anna",
            "1234",
            long.as_str(),
            422,
            "bad-field",
        ),
        (&held.id, "approve", "anna", "late", "why", 409, "expired"),
        (&ended.id, "reject", "anna", "1234", "why", 409, "not-held"),
        (&unknown, "approve", "anna", "1234", "why", 404, "not-found"),
    ] {
        let refused = problem(say(id, word, who, question, reason)).await;
        assert_eq!(
            (&refused["status"], &refused["type"]),
            (
                &json!(status),
                &json!(format!("urn:anomalyzer:problem:{kind}"))
            )
        );
        assert!(!refused["remedy"].as_str().unwrap().is_empty());
    }
}

fn tokens() -> ApiConfig {
    let token = |name: &str, role| Token {
        name: name.to_owned(),
        role,
        sha256: Some(hex::encode(sha2::Sha256::digest(format!(
            "secret of {name}"
        )))),
        file: None,
    };
    ApiConfig {
        tokens: vec![
            token("vera", Role::Viewer),
            token("anna", Role::Approver),
            token("ursula", Role::Uploader),
            token("adam", Role::Admin),
        ],
        ..ApiConfig::default()
    }
}

#[tokio::test]
async fn with_tokens_each_may_do_what_its_role_allows_and_its_name_is_recorded() {
    let server = Server::with(tokens()).await;
    let body = json!({"target": web()});
    for (name, may_act) in [
        ("vera", false),
        ("ursula", false),
        ("anna", true),
        ("adam", true),
    ] {
        let token = format!("secret of {name}");
        for path in [
            "/api/v1/decisions",
            "/metrics",
            "/metrics-test",
            "/api/v1/signals",
        ] {
            assert_eq!(
                server
                    .get(path)
                    .bearer_auth(&token)
                    .send()
                    .await
                    .unwrap()
                    .status(),
                StatusCode::OK,
                "{path}"
            );
        }
        let act = server.post("/action/no-action", &body).bearer_auth(&token);
        if may_act {
            assert_eq!(act.send().await.unwrap().status(), StatusCode::ACCEPTED);
            assert_eq!(
                server.parts.solutions.lock().last().unwrap().provenance.by,
                name
            );
        } else {
            assert_eq!(problem(act).await["status"], 403);
        }
    }
    for request in [
        server.get("/api/v1/decisions"),
        server.get("/metrics"),
        server
            .get("/api/v1/decisions")
            .bearer_auth("secret of nobody"),
        server
            .get("/api/v1/decisions")
            .basic_auth("adam", Some("secret of adam")),
        server.post("/action/no-action", &body),
        server.post("/send-test-metric", &json!({})),
    ] {
        let response = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"anomalyzer\""
        );
        assert_eq!(problem(request).await["status"], 401);
    }
    // A probe may learn if the host is healthy, but not which systems the host talks to.
    assert_eq!(server.json("/health").await.get("parts"), None);
    let health: Value = server
        .get("/health")
        .bearer_auth("secret of vera")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["parts"]["history"]["status"], "ok");
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_a_problem_and_no_empty_answer() {
    let server = Server::new().await;
    server.place.history.close().await;
    let request = server
        .get("/api/v1/decisions")
        .header("accept", "application/jsonl");
    assert_eq!(problem(request).await["status"], 503);
}

#[tokio::test]
async fn a_token_can_be_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a secret that is long enough\n").unwrap();
    let mut config = tokens();
    config.tokens[0].sha256 = None;
    config.tokens[0].file = Some(file.clone());
    let server = Server::with(config.clone()).await;
    let request = server
        .get("/api/v1/decisions")
        .bearer_auth("a secret that is long enough");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);

    let refused = |config: &ApiConfig| {
        Access::load(config, config.listen)
            .err()
            .unwrap()
            .to_string()
    };
    std::fs::write(&file, "secret of anna is the same").unwrap();
    config.tokens[1].sha256 = None;
    config.tokens[1].file = Some(file.clone());
    assert!(refused(&config).contains("the same token"));
    std::fs::write(&file, "short").unwrap();
    assert!(refused(&config).contains("at least 16 bytes"));
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&config).contains(&file.display().to_string()));
}

#[tokio::test]
async fn the_engine_answers_health_and_metrics_only() {
    let server = Server::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let access = Access::load(&ApiConfig::default(), ApiConfig::default().engine_listen).unwrap();
    let state = EngineState::new(
        access,
        Arc::clone(&server.parts) as Arc<dyn ProbeBackend>,
        Metrics::default(),
    );
    tokio::spawn(serve(
        listener,
        engine_router(state),
        Metrics::default(),
        server.shutdown.clone(),
    ));

    let health: Value = server
        .http
        .get(format!("{base}/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        health,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "parts": {}})
    );
    assert_eq!(
        server
            .http
            .get(format!("{base}/metrics"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    for path in ["/api/v1/decisions", "/action/scale-up", "/send-test-metric"] {
        assert_eq!(
            problem(server.http.get(format!("{base}{path}"))).await["status"],
            404,
            "{path}"
        );
    }
    server.shutdown.cancel();
}

#[tokio::test]
async fn on_shutdown_who_waits_is_answered_and_no_connection_is_taken() {
    let server = Server::new().await;
    let waiting = tokio::spawn(
        server
            .post("/action/investigate?wait=20s", &json!({"target": web()}))
            .send(),
    );
    while server.parts.solutions.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    assert_eq!(
        waiting.await.unwrap().unwrap().status(),
        StatusCode::ACCEPTED
    );
    tokio::time::timeout(Duration::from_secs(20), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[test]
fn no_query_and_no_body_is_a_fault_of_the_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(async {
        let server = Server::new().await;
        server
            .place
            .record(DecisionEventKind::Proposed, proposed(1))
            .await;
        server
    });
    let check = |request: RequestBuilder| {
        runtime.block_on(async {
            let status = request.send().await.unwrap().status();
            assert!(!status.is_server_error(), "{status}");
        });
    };
    let text = prop_oneof![any::<String>(), r#"[a"*()^:{}+\-\x00 ,.]{0,20}"#];
    let name = prop_oneof![
        "text|target|from|to|state|outcome|cursor|limit|solution|incident",
        any::<String>()
    ];
    proptest!(ProptestConfig::with_cases(200), |(text in text, name in name, value in any::<String>(), raw in "[ -~]{0,40}")| {
        check(server.get("/api/v1/decisions").query(&[("text", &text)]));
        check(server.get("/api/v1/decisions").query(&[(&name, &value)]));
        check(server.request(Method::POST, "/action/no-action").header("content-type", "application/json").body(text));
        // Send the query unescaped, without an HTTP client that would escape it.
        let answer = runtime.block_on(async {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let head = format!("GET /api/v1/decisions?{} HTTP/1.0\r\n\r\n", raw.replace(' ', "%20"));
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let status = answer.split(' ').nth(1).unwrap_or_default();
        prop_assert!(status == "200" || status.starts_with('4'), "{}", answer);
    });
}
