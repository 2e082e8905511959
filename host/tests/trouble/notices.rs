//! A webhook that hangs beside a healthy one.

use std::time::{Duration, Instant};

use anomalyzer_common::http_client;
use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver};
use crate::scale::{Progress, SLACK};
use crate::service::{Running, channel};
use crate::wait::until;

/// Number of operations of each service.
const OPERATIONS: usize = 60;

/// Returns the time from the request of an operation to its end.
async fn act(http: &reqwest::Client, running: &Running, number: usize) -> Duration {
    let begun = Instant::now();
    let url = format!("http://{}/action/alarm?wait=30s", running.service.address());
    let body = json!({ "target": "default//Process/web", "reason": format!("number {number}") });
    let answer = http.post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let decision: Value = answer.json().await.unwrap();
    assert_eq!(decision["state"], "done", "{decision}");
    begun.elapsed()
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100 - 1]
}

#[tokio::test]
async fn a_webhook_that_hangs_delays_neither_operations_nor_the_healthy_one() {
    let _progress = Progress::of("notices");
    let (alone, beside) = (Receiver::start([]).await, Receiver::start([]).await);
    let second = Receiver::start([]).await;
    let hanging = Receiver::start(vec![Answer::Silence; 10_000]).await;
    let group =
        "[local.groups.web]\ncommand = ['sleep', '7200']\nfirst_port = 9\nstop_timeout = '1s'\n";
    let start = async |channels: String| {
        let more = format!("[guard]\ncooldown = '0s'\n{group}{channels}");
        Running::start(tempfile::tempdir().unwrap(), &more).await
    };
    // Each channel keeps its notices on disk, so both services have two.
    let both = format!(
        "{}{}",
        channel("healthy", &alone),
        channel("second", &second)
    );
    let well = start(both).await;
    let both = format!(
        "{}{}",
        channel("healthy", &beside),
        channel("hanging", &hanging)
    );
    let sick = start(both).await;
    let http = http_client::client(SLACK).unwrap();
    let (mut before, mut with) = (vec![], vec![]);
    // The two services take turns, so that the load of the machine is that of both.
    for number in 0..OPERATIONS {
        before.push(act(&http, &well, number).await);
        with.push(act(&http, &sick, number).await);
    }
    let (before, with) = (p99(before), p99(with));
    println!("p99 of an operation: {before:?} without, {with:?} beside a webhook that hangs");
    assert!(
        // An operation that waits for the webhook takes at least the timeout of ten seconds.
        with < before * 3 + Duration::from_secs(1),
        "{with:?} instead of {before:?}"
    );
    for healthy in [&alone, &beside] {
        until("the healthy webhook gets all notices", SLACK, async || {
            (healthy.received().len() >= OPERATIONS).then_some(())
        })
        .await;
    }
    assert!(!hanging.received().is_empty());
}
