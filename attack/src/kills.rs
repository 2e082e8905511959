//! SIGKILL at random times, under twelve clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Mutex;

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::tally::Tally;

const KILLS: usize = 20;
const CLIENTS: usize = 12;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut random = Rng::with_seed(arguments.seed);
    let mut service = Service::start(arguments, Options::default()).await?;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (client, accepted) = (service.client("approver"), accepted.clone());
        clients.push(tokio::spawn(async move {
            loop {
                let body = json!({ "target": "default//Process/g", "reason": "a test" });
                match client.send(Method::POST, "/action/no-action", &body).await {
                    Ok((StatusCode::ACCEPTED, value)) => {
                        let id = value["decision"].as_str().unwrap_or_default().to_owned();
                        accepted.lock().await.insert(id);
                    }
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }));
    }
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.u64(100..1500))).await;
        service.signal(Signal::KILL)?;
        service.wait(Duration::from_secs(10)).await?;
        tally.attempts += 1;
        if let Err(error) = service.launch().await {
            tally.check(false, || format!("no start after a kill: {error:#}"));
            return Ok(tally);
        }
    }
    for client in &clients {
        client.abort();
    }
    let ids = accepted.lock().await.clone();
    tally.note("accepted requests", &ids.len());
    tally.check(ids.len() > KILLS, || {
        "hardly any request is accepted".to_owned()
    });
    let mut lost: Vec<String> = Vec::new();
    for id in &ids {
        let path = format!("/api/v1/decisions/{id}");
        let over = until(Duration::from_secs(20), async || {
            let page = service.client("viewer").json(&path).await;
            page.is_ok_and(|decision| decision["state"] == "done" || decision["state"] == "denied")
        })
        .await;
        if !over {
            lost.push(id.clone());
        }
        if lost.len() > 3 {
            break;
        }
    }
    tally.check(lost.is_empty(), || {
        format!("accepted, and not over: {lost:?}")
    });
    service.stop().await?;
    let flag = format!("--data-dir={}", service.path("data").display());
    let (status, text) = service.command(&["audit", "verify", &flag])?;
    tally.check(status.success(), || {
        format!("the record after the kills: {text}")
    });
    Ok(tally)
}
