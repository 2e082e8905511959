//! Tests of the analyst against a real Ollama, and against all kinds of bad responses.

use std::sync::Arc;
use std::time::Duration;

use anomalyzer_diagnose::{Diagnoser, DiagnoserConfig, Diagnosis, OllamaConfig};
use anomalyzer_domain::{
    AnalystKind, Finding, Incident, IncidentEvent, IncidentEventKind, IncidentId, Meaning, Range,
    Target, solutions, testing,
};
use anomalyzer_testbed::shared;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;

fn event() -> IncidentEvent {
    let finding = |signal: &str, meaning| Finding {
        meaning,
        at: 1_000,
        score: 4.0,
        severity: 4.0,
        observed: Some(160.0),
        expected: Some(Range {
            low: Some(20.0),
            high: Some(60.0),
        }),
        reason: "160 is 9 standard deviations above the mean 40".into(),
        ..testing::finding(signal)
    };
    let findings = vec![
        finding("traffic", Meaning::Traffic),
        finding("latency", Meaning::Latency),
    ];
    let incident = Incident {
        changed_at: 1_000,
        coverage: testing::coverage(2, 2),
        ..testing::incident(IncidentId::derive(&["a"]).as_str(), findings)
    };
    IncidentEvent::new(IncidentEventKind::Confirmed, 1_000, incident)
}

fn diagnoser(ollama: Option<OllamaConfig>) -> Diagnoser {
    let offer = Arc::new(|_: &Target| {
        [
            solutions::ALARM,
            solutions::NO_ACTION,
            solutions::RESTART_SERVICE,
            solutions::SCALE_UP,
        ]
        .map(str::to_owned)
        .to_vec()
    });
    Diagnoser::new(DiagnoserConfig::default(), ollama, offer, Arc::new(|| 0)).unwrap()
}

fn config(url: String, timeout: Duration) -> OllamaConfig {
    OllamaConfig {
        timeout,
        ..OllamaConfig::new(url, "small".into())
    }
}

/// Starts an Ollama that knows the model and gives every chat the response `answer` after `delay`.
/// Returns its URL.
async fn answering<R: IntoResponse + Clone + Send + Sync + 'static>(
    answer: R,
    delay: Duration,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tags = axum::Json(json!({ "models": [{ "name": "small", "digest": "d1" }] }));
    let chat = move || async move {
        tokio::time::sleep(delay).await;
        answer
    };
    let router = Router::new()
        .route("/api/tags", get(tags))
        .route("/api/chat", post(chat));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn chat(content: &str, done: &str) -> String {
    json!({ "message": { "role": "assistant", "content": content }, "done": true, "done_reason": done }).to_string()
}

async fn diagnose(url: String, timeout: Duration) -> Diagnosis {
    diagnoser(Some(config(url, timeout)))
        .diagnose(&event())
        .await
        .0
}

#[track_caller]
fn decided_by_rules(diagnosis: &Diagnosis, why: &str) {
    assert_eq!(diagnosis.analyst.kind, AnalystKind::Rules);
    let said = diagnosis.analyst.why_rules.as_deref().unwrap();
    assert!(said.contains(why), "{said:?} does not say {why:?}");
    assert_eq!(diagnosis.proposals[0].solution_type, solutions::SCALE_UP);
}

const TEST_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn whatever_ollama_answers_the_rules_decide_and_the_decision_says_why() {
    let good = r#"{"solution":"alarm","explanation":"it is serious","confidence":0.5,"evidence":["e1"],"alternative":"alarm"}"#;
    for (answer, why) in [
        (
            chat("I would restart it.", "stop"),
            "does not fit the schema",
        ),
        (chat(&good[..40], "length"), "cut at its length limit"),
        (chat(&good[..40], "stop"), "does not fit the schema"),
        (
            chat(
                &good.replace("\"alarm\",\"explanation", "\"delete_all\",\"explanation"),
                "stop",
            ),
            "was not offered",
        ),
        (
            chat(&good.replace("e1", "e99"), "stop"),
            "which it was not shown",
        ),
        (
            r#"{"error":"out of memory"}"#.to_owned(),
            "answered with an error: out of memory",
        ),
        ("<html>busy</html>".to_owned(), "is not JSON"),
        ("{}".to_owned(), "has no message"),
    ] {
        let raw_is_kept = !answer.is_empty();
        let diagnosis = diagnose(answering(answer, Duration::ZERO).await, TEST_TIMEOUT).await;
        decided_by_rules(&diagnosis, why);
        assert_eq!(diagnosis.analyst.raw_answer.is_some(), raw_is_kept);
        assert_eq!(
            diagnosis.analyst.digest.as_deref(),
            Some("d1"),
            "whose answer it was"
        );
        assert!(diagnosis.analyst.prompt.is_some());
    }
}

#[tokio::test]
async fn a_good_answer_is_taken_with_its_model_and_prompt_on_record() {
    let good = r#"{"solution":"alarm","explanation":"it is serious","confidence":0.5,"evidence":["e1"],"alternative":"scale_up"}"#;
    let diagnosis = diagnose(
        answering(chat(good, "stop"), Duration::ZERO).await,
        TEST_TIMEOUT,
    )
    .await;
    let analyst = &diagnosis.analyst;
    assert_eq!(
        (analyst.kind, analyst.digest.as_deref()),
        (AnalystKind::Ollama, Some("d1"))
    );
    assert_eq!(analyst.raw_answer.as_deref(), Some(good));
    let proposed: Vec<&str> = diagnosis
        .proposals
        .iter()
        .map(|proposal| proposal.solution_type.as_str())
        .collect();
    assert_eq!(proposed, ["alarm", "scale_up"]);
}

#[tokio::test]
async fn an_ollama_that_is_absent_slow_or_failing_repeatedly_is_told_apart() {
    decided_by_rules(
        &diagnoser(None).diagnose(&event()).await.0,
        "no ollama is configured",
    );
    let slow = answering(chat("", "stop"), Duration::from_secs(60)).await;
    decided_by_rules(
        &diagnose(slow, Duration::from_millis(300)).await,
        "did not answer within 300ms",
    );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let diagnoser = diagnoser(Some(OllamaConfig {
        breaker_after: 2,
        ..config(gone, TEST_TIMEOUT)
    }));
    for _ in 0..2 {
        decided_by_rules(&diagnoser.diagnose(&event()).await.0, "cannot be reached");
    }
    decided_by_rules(
        &diagnoser.diagnose(&event()).await.0,
        "failed repeatedly and is left alone",
    );
}

#[tokio::test]
async fn a_real_model_keeps_to_the_schema() {
    let Some(ollama) = shared::ollama("a_real_model_keeps_to_the_schema") else {
        return;
    };
    let config = OllamaConfig {
        timeout: Duration::from_secs(120),
        ..OllamaConfig::new(ollama.url.clone(), ollama.model.clone())
    };
    let diagnoser = diagnoser(Some(config));
    let health = diagnoser.health().await.unwrap();
    assert_eq!(health.problem, None);
    let (diagnosis, evidence) = diagnoser.diagnose(&event()).await;
    assert_eq!(
        diagnosis.analyst.kind,
        AnalystKind::Ollama,
        "{:?}",
        diagnosis.analyst.why_rules
    );
    assert_eq!(diagnosis.analyst.digest, health.digest);
    assert!(
        diagnosis
            .cites
            .iter()
            .all(|cited| evidence.iter().any(|shown| shown.id == *cited))
    );
}
