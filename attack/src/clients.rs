//! Slow and greedy clients of the API.

use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Arguments;
use crate::client::{raw, statuses};
use crate::service::{Options, ROLES, Service};
use crate::tally::{Tally, shown};

/// Number of slow connections, above the limit of the server.
const SLOW: usize = 600;
/// Number of probes, as of a kubelet.
const PROBES: usize = 17;
/// Number of decisions that the searches look through.
const DECISIONS: usize = 4_000;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    slow_heads(&service, &mut tally).await?;
    fill(&service).await;
    slow_readers(&service, &mut tally).await?;
    searches(&service, &mut tally).await?;
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    Ok(tally)
}

/// Sends half a head on many connections, and probes the health meanwhile.
async fn slow_heads(service: &Service, tally: &mut Tally) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..SLOW {
        let connect = TcpStream::connect(("127.0.0.1", service.port));
        if let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(1), connect).await {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: 127").await;
            streams.push(stream);
        }
        tally.attempts += 1;
    }
    let mut unanswered = 0;
    for _ in 0..PROBES {
        let head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let probe = raw(service.port, head, Duration::from_secs(5));
        let answered = probe.await.is_ok_and(|answer| statuses(&answer) == [200]);
        unanswered += usize::from(!answered);
        tally.attempts += 1;
    }
    tally.check(unanswered == 0, || {
        format!("{unanswered} of {PROBES} probes are not answered beside {SLOW} slow heads")
    });
    Ok(())
}

/// Makes decisions.
async fn fill(service: &Service) {
    let many = (0..8).map(|_| {
        let client = service.client("approver");
        async move {
            for _ in 0..DECISIONS / 8 {
                let body = json!({ "target": "default//Process/g", "reason": "a test" });
                let _ = client.send(Method::POST, "/action/no-action", &body).await;
            }
        }
    });
    let _ = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(many)).await;
}

/// Reads exports byte by byte on 60 connections, and acts meanwhile.
async fn slow_readers(service: &Service, tally: &mut Tally) -> Result<()> {
    let token = ROLES.iter().find(|(name, _)| *name == "viewer");
    let token = token.map_or("", |(_, token)| *token);
    let head = format!(
        "GET /api/v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
         Accept: application/jsonl\r\n\r\n"
    );
    let mut streams = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut byte = [0; 1];
        let read = stream.read(&mut byte);
        let _ = tokio::time::timeout(Duration::from_secs(1), read).await;
        streams.push(stream);
        tally.attempts += 1;
    }
    acts(service, tally, "60 slow readers").await;
    Ok(())
}

/// Searches on 24 connections, and acts meanwhile.
async fn searches(service: &Service, tally: &mut Tally) -> Result<()> {
    let mut tasks = Vec::new();
    for number in 0..24 {
        let client = service.client("viewer");
        tasks.push(tokio::spawn(async move {
            let query = [
                "solution=alarm&state=held",
                "text=nothing%20at%20all",
                "outcome=worse&target=default//Process/g",
            ][number % 3];
            loop {
                let _ = client.get(&format!("/api/v1/decisions?{query}")).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    acts(service, tally, "24 searching viewers").await;
    for task in tasks {
        task.abort();
    }
    Ok(())
}

async fn acts(service: &Service, tally: &mut Tally, beside: &str) {
    for _ in 0..8 {
        let begun = Instant::now();
        let done = service
            .client("approver")
            .act("restart-service", "a test")
            .await;
        let held = done.is_ok() && begun.elapsed() < Duration::from_secs(20);
        tally.attempt(held, || {
            format!(
                "an action beside {beside} after {:?}: {}",
                begun.elapsed(),
                shown(&done)
            )
        });
    }
}
