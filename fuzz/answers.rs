//! Entry points for the answers of servers. A server of this process gives any bytes as its answer
//! to the client of the service.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anomalyzer_collect::MetricSource;
use anomalyzer_diagnose::{Diagnoser, DiagnoserConfig, OllamaConfig};
use anomalyzer_domain::{IncidentEvent, LogRequest, Operation, Target, Topic, solutions};
use anomalyzer_http_source::{
    AccessConfig, HttpUrl, Prometheus, PrometheusConfig, SourceClient, http_sd,
};
use anomalyzer_operator::Operator;
use anomalyzer_operator_kubernetes::{Kubernetes, KubernetesConfig};
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::{NOW_MS, delivery};

/// Maximum time for one answer. It is never reached.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server that gives one answer to every request, and its client.
struct Answered<C> {
    runtime: Runtime,
    answer: Arc<Mutex<(StatusCode, Bytes)>>,
    client: C,
}

impl<C> Answered<C> {
    /// Starts the server, and makes a client for its address.
    fn start(client: impl AsyncFnOnce(SocketAddr) -> C) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let answer = Arc::new(Mutex::new((StatusCode::OK, Bytes::new())));
        let given = Arc::clone(&answer);
        let routes = axum::Router::new().fallback(async move |uri: Uri| {
            let (status, body) = given.lock().clone();
            let body = match uri.path() {
                // A model is there, unless the answer is a list of models.
                "/api/tags" if !body.starts_with(b"{\"models\"") => {
                    Bytes::from_static(br#"{"models": [{"name": "it", "digest": "d"}]}"#)
                }
                _ => body,
            };
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        });
        let client = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port is free");
            let address = listener.local_addr().expect("the listener has an address");
            tokio::spawn(async move { axum::serve(listener, routes).await });
            client(address).await
        });
        Self {
            runtime,
            answer,
            client,
        }
    }

    /// Uses the client while the server answers `body`.
    fn ask<T>(&self, status: StatusCode, body: &[u8], asks: impl AsyncFnOnce(&C) -> T) -> T {
        *self.answer.lock() = (status, Bytes::copy_from_slice(body));
        self.runtime.block_on(asks(&self.client))
    }
}

/// Reads the answers of a Prometheus to both kinds of queries. A first line such as `422` is the
/// status of the answer.
pub fn prometheus(bytes: &[u8]) {
    static SERVER: LazyLock<Answered<Prometheus>> = LazyLock::new(|| {
        Answered::start(async |address| {
            let url = HttpUrl::try_from(format!("http://{address}")).expect("this is an address");
            let config = PrometheusConfig {
                timeout: TIMEOUT,
                ..PrometheusConfig::at(url)
            };
            Prometheus::new(config).expect("a client can be made")
        })
    });
    let (status, body) = match bytes.split_at_checked(4) {
        Some((line @ [b'2' | b'4' | b'5', _, _, b'\n'], body)) => {
            (StatusCode::from_bytes(&line[..3]).unwrap_or_default(), body)
        }
        _ => (StatusCode::OK, bytes),
    };
    SERVER.ask(status, body, async |prometheus| {
        if let Ok(series) = prometheus.query("q", NOW_MS).await {
            // Each series of an instant has one sample, at the time of the query.
            for series in series {
                assert!(matches!(&series.samples[..], [one] if one.at == NOW_MS));
            }
        }
        let (from, minute) = (NOW_MS - 3_600_000, Duration::from_secs(60));
        if let Ok(series) = prometheus.query_range("q", from, NOW_MS, minute).await {
            let mut samples = series.iter().flat_map(|series| &series.samples);
            assert!(samples.all(|sample| (from..=NOW_MS).contains(&sample.at)));
        }
    });
}

/// Reads the answer of HTTP service discovery, and makes the addresses of the found targets.
pub fn http_sd(bytes: &[u8]) {
    static SERVER: LazyLock<Answered<(SourceClient, String)>> = LazyLock::new(|| {
        Answered::start(async |address| {
            let client =
                SourceClient::new(AccessConfig::default(), TIMEOUT).expect("a client can be made");
            (client, format!("http://{address}/sd"))
        })
    });
    SERVER.ask(StatusCode::OK, bytes, async |(client, url)| {
        if let Ok(found) = http_sd::fetch(client, url).await {
            for target in found {
                assert!(target.metrics_url().contains("://"));
            }
        }
    });
}

/// Reads the answer of a language model: first as the answer of Ollama, then as the text of the
/// model in an answer of Ollama.
pub fn ollama(bytes: &[u8]) {
    static SERVER: LazyLock<Answered<(Diagnoser, IncidentEvent)>> = LazyLock::new(|| {
        Answered::start(async |address| {
            let config = OllamaConfig {
                breaker_after: u32::MAX,
                timeout: TIMEOUT,
                ..OllamaConfig::new(format!("http://{address}"), "it".to_owned())
            };
            let diagnoser = Diagnoser::new(
                DiagnoserConfig::default(),
                Some(config),
                Arc::new(|_: &Target| Vec::new()),
                Arc::new(|| NOW_MS),
            );
            let opened = include_bytes!("corpus/incidents/opened.json");
            let event =
                anomalyzer_wire::incidents::decode(&delivery(Topic::Incidents, vec![], opened));
            (
                diagnoser.expect("an analyst can be made"),
                event.expect("the event can be read"),
            )
        })
    });
    let offered = solutions::ALL.map(str::to_owned);
    let text = String::from_utf8_lossy(bytes);
    let envelope = serde_json::json!({"message": {"content": text}, "done_reason": "stop"});
    for body in [bytes, envelope.to_string().as_bytes()] {
        SERVER.ask(StatusCode::OK, body, async |(diagnoser, event)| {
            let (diagnosis, evidence) = diagnoser.diagnose_from(event, &offered).await;
            assert!(!diagnosis.proposals.is_empty());
            for proposal in diagnosis.proposals {
                assert!(offered.contains(&proposal.solution_type));
                assert!((0.0..=1.0).contains(&proposal.confidence));
            }
            for id in diagnosis.cites {
                assert!(evidence.iter().any(|known| known.id == id));
            }
            diagnoser.health().await
        });
    }
}

/// Reads an object of a Kubernetes API server, judges its rollout, reads its logs and scales it.
/// The server gives the object, also as the list of its pods and events.
pub fn kubernetes(bytes: &[u8]) {
    static SERVER: LazyLock<Answered<Kubernetes>> = LazyLock::new(|| {
        Answered::start(async |address| {
            let folder = tempfile::tempdir().expect("there is room for a folder");
            let path = folder.path().join("kubeconfig");
            let text = serde_json::json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": format!("http://{address}")}}],
                "users": [{"name": "it", "user": {}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            });
            std::fs::write(&path, text.to_string()).expect("there is room for a file");
            let config = KubernetesConfig {
                kubeconfig: Some(path),
                request_timeout: TIMEOUT,
                ..KubernetesConfig::default()
            };
            Kubernetes::connect(&config)
                .await
                .expect("the kubeconfig is good")
        })
    });
    SERVER.ask(StatusCode::OK, bytes, async |kubernetes| {
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "Pod"] {
            let target = Target::new("shop", kind, "web");
            let Ok(snapshot) = kubernetes.inspect(&target).await else {
                continue;
            };
            let request = LogRequest {
                target: target.clone(),
                lines: 10,
                previous: false,
            };
            let _ = kubernetes.read_logs(&request).await;
            let scale = Operation::Scale {
                target,
                replicas: 2,
            };
            let _ = kubernetes.perform(&"op-it".into(), &scale, &snapshot).await;
        }
    });
}
