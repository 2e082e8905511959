//! An API server of Kubernetes with one Deployment, `shop/web`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::rfc3339;
use anomalyzer_operator::merge_patch;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const MARK: &str = "anomalyzer.dev/operation";

/// The cluster. It stops with the test's runtime.
pub struct Cluster {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    web: Mutex<Option<Value>>,
    /// The patches that were applied.
    patches: Mutex<Vec<Value>>,
    /// One permit for each patch that may be answered.
    answers: Semaphore,
}

impl Cluster {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            web: Mutex::new(Some(deployment())),
            patches: Mutex::default(),
            answers: Semaphore::new(100_000),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared }
    }

    /// Returns the patches that were applied, oldest first.
    pub fn patches(&self) -> Vec<Value> {
        self.shared.patches.lock().clone()
    }

    pub fn replicas(&self) -> u64 {
        let web = self.shared.web.lock();
        web.as_ref().unwrap()["spec"]["replicas"].as_u64().unwrap()
    }

    pub fn delete(&self) {
        *self.shared.web.lock() = None;
    }

    /// Puts the Deployment back as a deployment tool does: `spec` as it was, and no annotation of
    /// ours.
    pub fn revert(&self, by: &str) {
        let mut web = self.shared.web.lock();
        let web = web.as_mut().unwrap();
        let old = deployment();
        web["spec"] = old["spec"].clone();
        web["metadata"]["annotations"] = json!({});
        changed(web, by, true);
    }

    /// Lets the API server apply patches without answering them, until [`Cluster::answer_again`].
    pub fn stop_answering(&self) {
        self.shared.answers.forget_permits(100_000);
    }

    pub fn answer_again(&self) {
        self.shared.answers.add_permits(100_000);
    }
}

/// Writes a kubeconfig for the server at `address` into `folder`. Returns its path.
pub fn kubeconfig(folder: &Path, address: SocketAddr) -> PathBuf {
    let path = folder.join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    path
}

fn deployment() -> Value {
    let mut web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "generation": 0, "resourceVersion": "0",
            "annotations": {}, "managedFields": []
        },
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
        },
    });
    changed(&mut web, "kubectl", true);
    web
}

/// Completes a change by `by`: its version, its manager, and the status that the controllers set.
fn changed(web: &mut Value, by: &str, spec: bool) {
    let next = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap() + 1;
    let metadata = &mut web["metadata"];
    metadata["resourceVersion"] = next(&metadata["resourceVersion"]).to_string().into();
    let generation = metadata["generation"].as_u64().unwrap() + u64::from(spec);
    metadata["generation"] = generation.into();
    let managers = metadata["managedFields"].as_array_mut().unwrap();
    managers.retain(|manager| manager["manager"] != by);
    managers.push(json!({"manager": by, "operation": "Update", "time": rfc3339(now_ms())}));
    let replicas = web["spec"]["replicas"].clone();
    web["status"] = json!({
        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
    });
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (_, "/version") => Json(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""
        }))
        .into_response(),
        (&Method::GET, "/apis/apps/v1/namespaces/shop/deployments/web") => {
            let web = shared.web.lock().clone();
            web.map_or_else(
                || status(StatusCode::NOT_FOUND, "NotFound"),
                |web| Json(web).into_response(),
            )
        }
        (&Method::PATCH, "/apis/apps/v1/namespaces/shop/deployments/web") => {
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            let patch = serde_json::from_slice(&body.unwrap()).unwrap();
            let answer = apply(&shared, patch);
            let _permit = shared.answers.acquire().await.unwrap();
            answer
        }
        (&Method::GET, path) if path.contains("/namespaces/shop/") => Json(json!({
            "kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []
        }))
        .into_response(),
        _ => status(StatusCode::NOT_FOUND, "NotFound"),
    }
}

fn apply(shared: &Shared, patch: Value) -> Response {
    let mut web = shared.web.lock();
    let Some(web) = web.as_mut() else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    let version = &patch["metadata"]["resourceVersion"];
    if !version.is_null() && *version != web["metadata"]["resourceVersion"] {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    let before = web["spec"].clone();
    merge_patch::apply(web, &patch);
    assert!(web["metadata"]["annotations"][MARK].is_string(), "{patch}");
    let spec = before != web["spec"];
    changed(web, "anomalyzer", spec);
    shared.patches.lock().push(patch);
    Json(web.clone()).into_response()
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": reason});
    (code, Json(body)).into_response()
}
