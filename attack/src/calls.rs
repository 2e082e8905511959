//! Malformed and mutated calls of the API.

use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Arguments;
use crate::client::Client;
use crate::service::{Options, Service};
use crate::tally::Tally;

/// Number of mutated bodies for each endpoint.
const MUTATIONS: usize = 150;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    let client = service.client("admin");
    service.client("admin").act("no-action", "a test").await?;
    let mut random = Rng::with_seed(arguments.seed);
    for query in queries() {
        for page in ["/api/v1/decisions", "/api/v1/incidents"] {
            call(
                &client,
                &mut tally,
                Method::GET,
                &format!("{page}?{query}"),
                None,
            )
            .await?;
        }
    }
    for id in ids() {
        for page in ["decisions", "incidents", "plugins", "feedback", "silences"] {
            let path = format!("/api/v1/{page}/{id}");
            call(&client, &mut tally, Method::GET, &path, None).await?;
            call(&client, &mut tally, Method::DELETE, &path, None).await?;
        }
        let path = format!("/action/{id}");
        call(
            &client,
            &mut tally,
            Method::POST,
            &path,
            Some(b"{}".to_vec()),
        )
        .await?;
    }
    for (method, path, good) in bodies() {
        for body in malformed() {
            call(&client, &mut tally, method.clone(), path, Some(body)).await?;
        }
        let good = good.to_string().into_bytes();
        for _ in 0..MUTATIONS {
            let body = mutated(&good, &mut random);
            call(&client, &mut tally, method.clone(), path, Some(body)).await?;
        }
    }
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    tally.check(!service.log().contains("panicked"), || {
        format!("a panic: {}", service.log_end())
    });
    Ok(tally)
}

/// Sends a request, and counts a fault if the server answers with an error of its own.
async fn call(
    client: &Client,
    tally: &mut Tally,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<()> {
    let mut request = client
        .request(method.clone(), path)
        .timeout(Duration::from_secs(45));
    let shown = body.as_ref().map(|body| {
        let end = body.len().min(200);
        String::from_utf8_lossy(&body[..end]).into_owned()
    });
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body);
    }
    // A path that is no URL is refused by the client itself.
    let Ok(request) = request.build() else {
        return Ok(());
    };
    let answer = reqwest::Client::new().execute(request).await;
    let held = answer
        .as_ref()
        .is_ok_and(|answer| !answer.status().is_server_error());
    tally.attempt(held, || {
        let answer = match answer {
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        };
        format!("{method} {path} with {shown:?}: {answer}")
    });
    Ok(())
}

fn bodies() -> Vec<(Method, &'static str, Value)> {
    let target = json!({ "kind": "Process", "name": "g" });
    vec![
        (
            Method::POST,
            "/action/no-action",
            json!({ "target": target, "parameters": { "replicas": 2 }, "reason": "a test" }),
        ),
        (
            Method::PUT,
            "/api/v1/kill-switch",
            json!({ "why": "a test" }),
        ),
        (
            Method::POST,
            "/api/v1/silences",
            json!({ "targets": target, "for": "1m", "why": "a test" }),
        ),
        (
            Method::POST,
            "/send-test-metric",
            json!({ "name": "m", "value": 10.0, "baseline": 1.0, "samples": 3 }),
        ),
        (
            Method::POST,
            "/api/v1/decisions/dec-0/approve",
            json!({ "question": "00", "reason": "a test" }),
        ),
        (
            Method::POST,
            "/api/v1/feedback/f-0",
            json!({ "useful": true, "why": "a test" }),
        ),
        (
            Method::PUT,
            "/api/v1/plugins/alarm/grants",
            json!({ "grants": [{ "operation": "notify" }] }),
        ),
        (
            Method::PUT,
            "/api/v1/plugins/alarm/mode",
            json!({ "mode": "auto" }),
        ),
    ]
}

fn malformed() -> Vec<Vec<u8>> {
    let texts = [
        "",
        "{",
        "}",
        "null",
        "[]",
        "0",
        "\"\"",
        "{}",
        "nan",
        "{\"a\":}",
        "\u{feff}{}",
        "{\"target\":null}",
        "{\"target\":{}}",
        "{\"target\":[]}",
        "{\"target\":\"\"}",
        "{\"target\":\"////\"}",
        "{\"target\":\"a/b/c/d/e\"}",
        "{\"target\":\"\\u0000\"}",
        "{\"target\":\"default//Process/g\",\"parameters\":{\"replicas\":1e999}}",
        "{\"target\":\"default//Process/g\",\"parameters\":{\"replicas\":-1}}",
        "{\"target\":\"default//Process/g\",\"unknown\":1}",
        "{\"target\":\"default//Process/g\",\"target\":\"x\"}",
        "{\"why\":\"\\ud800\"}",
        "{\"why\":1}",
        "{\"why\":[\"\"]}",
    ];
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.push("[".repeat(100_000).into_bytes());
    bodies.push("{\"a\":".repeat(50_000).into_bytes());
    bodies.push(format!("{{\"why\":\"{}\"}}", "a".repeat(900_000)).into_bytes());
    bodies.push(vec![b' '; 2 << 20]);
    bodies.push(vec![0xff; 1000]);
    bodies
}

fn queries() -> Vec<String> {
    let texts = [
        "limit=0",
        "limit=-1",
        "limit=501",
        "limit=99999999999999999999",
        "limit=",
        "limit=1&limit=2",
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=0",
        "cursor=-1",
        "cursor=99999999999999999999",
        "from=x",
        "from=-1",
        "from=99999999999999999999",
        "from=2026-13-01T00:00:00Z",
        "to=0",
        "from=2&to=1",
        "target=x",
        "target=////",
        "target=%00",
        "state=x",
        "solution=x",
        "outcome=x",
        "open=maybe",
        "open=true",
        "text=",
        "text=%22",
        "text=*",
        "text=a*",
        "text=AND",
        "text=NOT%20a",
        "text=NEAR(a%20b)",
        "text=a:b",
        "text=%27%3b--",
        "text=(((((",
        "text=%F0%9F%98%80",
        "text=%FF",
        "incident=%27%20OR%201=1",
        "unknown=1",
        "%00=1",
        "=",
        "&&&",
        "limit=%31",
    ];
    let mut queries: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    queries.push(format!("text={}", "a%20".repeat(2_000)));
    queries.push(format!("text={}", "(".repeat(5_000)));
    queries.push(format!("cursor={}", "f".repeat(10_000)));
    queries
}

fn ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "0",
        "dec-0",
        "%00",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%F0%9F%98%80",
        "%ff",
        "a%20b",
        "--help",
        "-rf",
        "-",
        "%0a",
        "%E2%80%AE",
        "'",
        "%22",
        "NUL",
    ]
    .iter()
    .map(|id| (*id).to_owned())
    .collect();
    ids.push("a".repeat(5_000));
    ids
}

/// Returns `good` with some bytes changed, doubled or left out.
pub fn mutated(good: &[u8], random: &mut Rng) -> Vec<u8> {
    const PIECES: [&[u8]; 8] = [
        b"null",
        b"-1",
        b"1e999",
        b"\"\"",
        b"[[[[",
        b"\\u0000",
        b"\xff",
        b"99999999999999999999",
    ];
    let mut bytes = good.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..12)).min(bytes.len());
        match random.u8(..4) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_differ_and_are_repeated_with_the_same_seed() {
        let good = b"{\"why\":\"a test\"}";
        let some = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..20)
                .map(|_| mutated(good, &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(1).iter().any(|body| body != good));
    }
}
