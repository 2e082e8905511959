//! The API, for which every caller may do everything.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use crate::http::Request;

/// Size of an upload below which the program takes it for a module made by hand.
const MADE_BY_HAND: usize = 5_000;

/// State of the program. A kill loses it (fault for `kills`).
pub struct Api {
    plugins: PathBuf,
    uploads: Mutex<Vec<String>>,
    decisions: AtomicU64,
    readers: Semaphore,
}

impl Api {
    pub fn new(plugins: PathBuf) -> Self {
        Self {
            plugins,
            uploads: Mutex::default(),
            decisions: AtomicU64::new(0),
            readers: Semaphore::new(4),
        }
    }

    /// Answers a request. Fault for `roles`, `raw` and `browser`: no header is looked at.
    pub async fn answer(&self, request: &Request) -> (u16, Value) {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        if request.line.starts_with("post /api/v1/plugins") && !path.ends_with("/revert") {
            return self.upload(request).await;
        }
        let json = request.head.contains("content-type: application/json");
        if json && serde_json::from_slice::<Value>(&request.body).is_err() {
            // Fault for `calls`.
            return (500, json!({}));
        }
        if path.starts_with("/action/") {
            return self.act(path).await;
        }
        if path.starts_with("/api/v1/decisions?solution=alarm") {
            // Fault for `clients`: a viewer's search takes a reader that an action needs.
            let _reader = self.readers.acquire().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        if let Some(id) = path.strip_prefix("/api/v1/decisions/") {
            let known = id
                .parse()
                .is_ok_and(|id: u64| id < self.decisions.load(Ordering::Relaxed));
            return (
                if known { 200 } else { 404 },
                json!({ "state": if known { "done" } else { "" } }),
            );
        }
        if let Some(name) = path.strip_prefix("/api/v1/plugins/") {
            return (200, self.plugin(name).await);
        }
        (200, json!({ "status": "ok" }))
    }

    async fn act(&self, path: &str) -> (u16, Value) {
        let reader = tokio::time::timeout(Duration::from_secs(1), self.readers.acquire()).await;
        if reader.is_err() {
            return (503, json!({}));
        }
        let id = self.decisions.fetch_add(1, Ordering::Relaxed).to_string();
        let status = if path.contains("wait") { 200 } else { 202 };
        (status, json!({ "decision": id, "state": "done" }))
    }

    /// Fault for `approvals` and `disk`: everybody's upload is live, whatever its name and number.
    async fn upload(&self, request: &Request) -> (u16, Value) {
        let wasm = request.head.contains("content-type: application/wasm");
        let text = b"error-rate";
        let mutant = request
            .body
            .windows(text.len())
            .any(|window| window == text);
        if wasm && (mutant || request.body.len() < MADE_BY_HAND) {
            // Fault for `components`, `mutants` and `cores`.
            std::process::abort();
        }
        self.uploads.lock().await.push(digest(&request.body));
        (201, json!({}))
    }

    async fn plugin(&self, name: &str) -> Value {
        let uploads = self.uploads.lock().await;
        let file = std::fs::read(self.plugins.join(format!("{name}.wasm")));
        let file = file.ok().map(|bytes| digest(&bytes));
        json!({ "digest": file.or_else(|| uploads.last().cloned()), "versions": *uploads })
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
