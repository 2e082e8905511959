//! Each role at each endpoint.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Arguments;
use crate::service::{Options, Service};
use crate::tally::Tally;

/// Roles that may use an endpoint.
const READ: &[&str] = &["viewer", "approver", "uploader", "admin"];
const ACT: &[&str] = &["approver", "admin"];
const UPLOAD: &[&str] = &["uploader", "admin"];
const MANAGE: &[&str] = &["admin"];

type Endpoint = (&'static str, &'static str, &'static [&'static str]);

const ENDPOINTS: [Endpoint; 28] = [
    ("GET", "/metrics", READ),
    ("GET", "/metrics-test", READ),
    ("POST", "/send-test-metric", ACT),
    ("GET", "/api/v1/decisions", READ),
    ("GET", "/api/v1/decisions/dec-0", READ),
    ("POST", "/api/v1/decisions/dec-0/approve", ACT),
    ("POST", "/api/v1/decisions/dec-0/reject", ACT),
    ("GET", "/api/v1/incidents", READ),
    ("GET", "/api/v1/incidents/inc-0", READ),
    ("GET", "/api/v1/signals", READ),
    ("GET", "/api/v1/kill-switch", READ),
    ("PUT", "/api/v1/kill-switch", ACT),
    ("DELETE", "/api/v1/kill-switch", ACT),
    ("GET", "/api/v1/silences", READ),
    ("POST", "/api/v1/silences", ACT),
    ("DELETE", "/api/v1/silences/0", ACT),
    ("GET", "/api/v1/feedback", READ),
    ("POST", "/api/v1/feedback/0", ACT),
    ("DELETE", "/api/v1/feedback/0", ACT),
    ("POST", "/action/no-action", ACT),
    ("GET", "/api/v1/plugins", READ),
    ("GET", "/api/v1/plugins/alarm", READ),
    ("POST", "/api/v1/plugins", UPLOAD),
    ("DELETE", "/api/v1/plugins/nobody", MANAGE),
    ("PUT", "/api/v1/plugins/nobody/grants", MANAGE),
    ("PUT", "/api/v1/plugins/nobody/mode", MANAGE),
    ("POST", "/api/v1/plugins/nobody/revert", MANAGE),
    ("POST", "/api/v1/plugins/nobody/quarantine/lift", MANAGE),
];

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    for role in ["nobody", "viewer", "approver", "uploader", "admin"] {
        let client = service.client(role);
        for (method, path, allowed) in ENDPOINTS {
            let method = Method::from_bytes(method.as_bytes())?;
            let (status, _) = client.send(method.clone(), path, &body(path)).await?;
            let held = match role {
                "nobody" => status == StatusCode::UNAUTHORIZED,
                role if allowed.contains(&role) => {
                    status != StatusCode::UNAUTHORIZED
                        && status != StatusCode::FORBIDDEN
                        && !status.is_server_error()
                }
                _ => status == StatusCode::FORBIDDEN,
            };
            tally.attempt(held, || {
                format!("{role}: {method} {path} answered {status}")
            });
        }
    }
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    Ok(tally)
}

/// Returns a body that the endpoint would accept.
fn body(path: &str) -> Value {
    match path {
        "/api/v1/kill-switch" => json!({ "why": "a test" }),
        "/api/v1/silences" => {
            json!({ "targets": { "name": "nobody" }, "for": "1m", "why": "a test" })
        }
        path if path.starts_with("/action") => json!({ "target": "default//Process/g" }),
        path if path.ends_with("/grants") => json!({ "grants": [] }),
        path if path.ends_with("/mode") => json!({ "mode": "shadow" }),
        path if path.ends_with("approve") || path.ends_with("reject") => {
            json!({ "question": "0", "reason": "a test" })
        }
        path if path.contains("feedback/") => json!({ "useful": true }),
        _ => json!({}),
    }
}
