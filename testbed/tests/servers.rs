//! Tests of the real Kafka, Prometheus and Ollama.

use anomalyzer_testbed::http::CLIENT;
use anomalyzer_testbed::shared;
use serde_json::{Value, json};

#[tokio::test]
async fn a_killed_broker_comes_back_on_the_same_port() {
    let Some(mut kafka) = shared::own_kafka("testbed: a killed broker comes back").await else {
        return;
    };
    let brokers = kafka.brokers();
    tokio::net::TcpStream::connect(&brokers).await.unwrap();
    kafka.kill();
    assert!(
        tokio::net::TcpStream::connect(&brokers).await.is_err(),
        "it is gone"
    );
    kafka.restart().await.unwrap();
    assert_eq!(kafka.brokers(), brokers);
    tokio::net::TcpStream::connect(&brokers).await.unwrap();
    kafka.stop().await;
}

#[tokio::test]
async fn prometheus_answers_a_query() {
    let Some(prometheus) = shared::prometheus("testbed: Prometheus answers a query") else {
        return;
    };
    let request = CLIENT
        .get(format!("{}/api/v1/query", prometheus.url))
        .query(&[("query", "1 + 1")]);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["result"][1], "2");
}

#[tokio::test]
async fn the_model_answers_in_the_form_that_a_schema_asks_for() {
    let Some(ollama) = shared::ollama("testbed: the model answers in the form of a schema") else {
        return;
    };
    let body = json!({
        "model": ollama.model, "stream": false, "options": { "num_predict": 64, "temperature": 0 },
        "messages": [{ "role": "user", "content": "Which one: scale_up or no_action?" }],
        "format": {
            "type": "object", "required": ["solution"],
            "properties": { "solution": { "type": "string", "enum": ["scale_up", "no_action"] } },
        },
    });
    let answer: Value = CLIENT
        .post(format!("{}/api/chat", ollama.url))
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let content: Value =
        serde_json::from_str(answer["message"]["content"].as_str().unwrap()).unwrap();
    assert!(
        ["scale_up", "no_action"]
            .map(Value::from)
            .contains(&content["solution"]),
        "{content}"
    );
}
