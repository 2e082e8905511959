use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::rig::{Rig, incident, interrupted, proposal, scale, web};
use anomalyzer_domain::{
    Decision, DecisionState, HttpRequest, Notice, Operation, OutcomeKind, solutions,
};

/// A decision that a crash interrupted in the middle of this operation.
fn crashed(rig: &Rig, solution: &str, operation: Operation) -> Decision {
    let incident = incident(&["latency"]);
    rig.know(&incident);
    let mut decision = rig.decision(&proposal(&incident, solution, 0));
    decision.transition(DecisionState::Acting).unwrap();
    let record = interrupted(&decision, operation);
    decision.operations.push(record);
    decision
}

fn outcome(decision: &Decision) -> OutcomeKind {
    decision.operations[0].outcome.as_ref().unwrap().kind
}

#[tokio::test]
async fn what_left_its_mark_was_done_and_is_verified() {
    let rig = Rig::new().await;
    let mut decision = crashed(&rig, solutions::SCALE_UP, scale(web(), 3));
    rig.world.mark(&web(), &decision.operations[0].id);
    rig.advance(&mut decision).await;
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::Done, DecisionState::Verifying)
    );
    assert_eq!(rig.world.performed(), []);
}

#[tokio::test]
async fn what_left_no_mark_is_in_doubt_and_not_done_again_but_its_effect_is_looked_for() {
    let rig = Rig::new().await;
    let mut decision = crashed(&rig, solutions::SCALE_UP, scale(web(), 3));
    rig.advance(&mut decision).await;
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::InDoubt, DecisionState::Verifying)
    );
    assert_eq!(rig.world.performed(), []);
    assert_eq!(
        rig.executor.history.decision(&decision.id).await.unwrap(),
        Some(decision)
    );
}

#[tokio::test]
async fn a_notice_goes_out_again_so_that_somebody_is_told() {
    let rig = Rig::new().await;
    let notice = Notice {
        channel: "default".into(),
        title: "latency".into(),
        text: String::new(),
    };
    let mut decision = crashed(&rig, solutions::ALARM, Operation::Notify(notice.clone()));
    // Long ago: it was begun in time all the same.
    (decision.expires_at, decision.operations[0].asked_at) = (1_000, 900);
    rig.advance(&mut decision).await;
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::Done, DecisionState::Done)
    );
    assert_eq!(
        decision.operations[0].outcome.as_ref().unwrap().detail,
        json!({"delivered": ["log"], "failed": []})
    );
    assert_eq!(rig.asked_again(), [] as [u32; 0]);

    // A notice that reached nobody is reported to the analyst, and suppresses no later notice.
    let nowhere = Notice {
        channel: "nowhere".into(),
        ..notice
    };
    let mut decision = crashed(&rig, solutions::ALARM, Operation::Notify(nowhere));
    rig.advance(&mut decision).await;
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::Failed, DecisionState::Failed)
    );
    assert_eq!(rig.asked_again(), [1]);
}

#[tokio::test]
async fn a_request_is_sent_again_under_the_same_key() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/limit", listener.local_addr().unwrap());
    let receiving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4_096];
        let read = stream.read(&mut request).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8_lossy(&request[..read]).to_ascii_lowercase()
    });
    let request = HttpRequest {
        method: "POST".into(),
        url,
        headers: vec![],
        body: None,
    };
    let mut decision = crashed(&rig, "my_hook", Operation::Http(request));
    rig.advance(&mut decision).await;
    let request = receiving.await.unwrap();
    let key = format!("idempotency-key: {}", decision.operations[0].id);
    assert!(request.contains(&key), "{request}");
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::Done, DecisionState::Verifying)
    );
}

#[tokio::test]
async fn a_request_that_is_not_allowed_any_more_stays_in_doubt() {
    let rig = Rig::new().await;
    let request = HttpRequest {
        method: "POST".into(),
        url: "http://127.0.0.1:9/".into(),
        headers: vec![],
        body: None,
    };
    let mut decision = crashed(&rig, "my_hook", Operation::Http(request));
    let mut over = incident(&["latency"]);
    (over.changed_at, over.cleared_at) = (over.changed_at + 1_000, Some(over.changed_at));
    rig.executor.incidents.take(&super::rig::event(&over));
    rig.advance(&mut decision).await;
    let outcome = decision.operations[0].outcome.clone().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::InDoubt);
    assert!(
        outcome
            .detail
            .to_string()
            .contains("the incident has cleared by itself"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_read_that_a_crash_interrupted_changed_nothing() {
    let rig = Rig::new().await;
    let mut decision = crashed(
        &rig,
        solutions::CHECK_LOGS,
        Operation::Inspect { target: web() },
    );
    rig.advance(&mut decision).await;
    assert_eq!(
        (outcome(&decision), decision.state()),
        (OutcomeKind::Failed, DecisionState::Failed)
    );
    assert_eq!(rig.asked_again(), [1]);
}
