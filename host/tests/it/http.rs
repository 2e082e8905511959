//! Tests of the HTTP requests that actions send, against a real receiver.

use std::time::Duration;

use anomalyzer_domain::{HttpRequest, OperationId};
use anomalyzer_egress::http::{Credential, HttpConfig, HttpSender};
use anomalyzer_operator::{OperatorError, Performed};
use serde_json::json;

use crate::receiver::{Answer, Receiver, nobody};

fn config() -> HttpConfig {
    HttpConfig {
        allow: vec!["127.0.0.1:*".into()],
        timeout: Duration::from_millis(500),
        max_request_bytes: 100,
        max_response_bytes: 10,
        ..HttpConfig::default()
    }
}

fn request(method: &str, url: String) -> HttpRequest {
    HttpRequest {
        method: method.into(),
        url,
        headers: vec![("X-Kind".into(), "test".into())],
        body: None,
    }
}

async fn send(config: &HttpConfig, request: &HttpRequest) -> Result<Performed, OperatorError> {
    HttpSender::new(config)
        .unwrap()
        .perform(&OperationId::from("op-1"), request)
        .await
}

#[tokio::test]
async fn a_request_arrives_with_its_headers_its_body_and_the_idempotency_key() {
    let receiver = Receiver::start([Answer::Say(201, "made".into())]).await;
    let asked = HttpRequest {
        body: Some(b"limit=5".to_vec()),
        ..request("post", receiver.url("/limit?x=1"))
    };
    let performed = send(&config(), &asked).await.unwrap();
    assert_eq!(performed.result, json!({"status": 201, "body": "made"}));
    let received = &receiver.received()[0];
    assert_eq!(
        (received.method.as_str(), received.uri.to_string().as_str()),
        ("POST", "/limit?x=1")
    );
    assert_eq!(
        (
            received.header("x-kind"),
            received.header("idempotency-key")
        ),
        ("test", "op-1")
    );
    assert_eq!(&received.body[..], b"limit=5");
}

#[tokio::test]
async fn what_is_not_allowed_is_never_sent() {
    let receiver = Receiver::start([]).await;
    let nothing_allowed = HttpConfig {
        allow: vec![],
        ..config()
    };
    let port = receiver.address.port();
    for (config, asked) in [
        (&nothing_allowed, request("GET", receiver.url("/"))),
        (
            &config(),
            request("GET", format!("http://localhost:{port}/")),
        ),
        (
            &config(),
            request("GET", format!("http://user:secret@127.0.0.1:{port}/")),
        ),
        (&config(), request("GET", "file:///etc/passwd".into())),
        (&config(), request("TRACE", receiver.url("/"))),
        (
            &config(),
            HttpRequest {
                body: Some(vec![0; 101]),
                ..request("POST", receiver.url("/"))
            },
        ),
        (
            &config(),
            HttpRequest {
                headers: vec![("Host".into(), "x".into())],
                ..request("GET", receiver.url("/"))
            },
        ),
    ] {
        let refused = send(config, &asked).await;
        assert!(
            matches!(refused, Err(OperatorError::Refused(_))),
            "{asked:?}: {refused:?}"
        );
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_until_the_address_is_allowed() {
    let receiver = Receiver::start([]).await;
    let asked = request(
        "GET",
        format!("http://localhost:{}/", receiver.address.port()),
    );
    let by_name = HttpConfig {
        allow: vec!["localhost:*".into()],
        ..config()
    };
    let refused = send(&by_name, &asked).await;
    assert!(
        matches!(&refused, Err(OperatorError::Refused(why)) if why.contains("a loopback address")),
        "{refused:?}"
    );
    assert!(receiver.received().is_empty());
    let and_address = HttpConfig {
        allow_addresses: vec!["127.0.0.0/8".into()],
        ..by_name
    };
    assert_eq!(
        send(&and_address, &asked).await.unwrap().result["status"],
        200
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start([]).await;
    let receiver = Receiver::start([Answer::Redirect(elsewhere.url("/stolen"))]).await;
    let refused = send(&config(), &request("GET", receiver.url("/"))).await;
    assert!(
        matches!(refused, Err(OperatorError::Refused(why)) if why.contains("redirects are not followed"))
    );
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn an_answer_is_read_to_its_limit() {
    let receiver = Receiver::start([Answer::Say(200, "x".repeat(100_000))]).await;
    let performed = send(&config(), &request("GET", receiver.url("/")))
        .await
        .unwrap();
    assert_eq!(
        performed.result,
        json!({"status": 200, "body": "xxxxxxxxxx", "truncated": true})
    );
}

#[tokio::test]
async fn credentials_are_added_below_their_url_and_hidden_in_the_answer() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "Bearer hush-hush\n").unwrap();
    let receiver = Receiver::start([Answer::Echo]).await;
    let credential = Credential {
        url: receiver.url("/team/"),
        header: "authorization".into(),
        value_file: secret.path().to_owned(),
    };
    let config = HttpConfig {
        credentials: vec![credential],
        max_response_bytes: 10_000,
        ..config()
    };
    let performed = send(&config, &request("GET", receiver.url("/team/a")))
        .await
        .unwrap();
    let text = performed.result.to_string();
    assert!(
        !text.contains("hush-hush") && text.contains("(hidden)"),
        "{text}"
    );
    send(&config, &request("GET", receiver.url("/other")))
        .await
        .unwrap();
    let received = receiver.received();
    assert_eq!(received[0].header("authorization"), "Bearer hush-hush");
    assert_eq!(received[1].header("authorization"), "");
}

#[tokio::test]
async fn each_refusal_and_each_silence_has_its_meaning() {
    let meaning = |error: OperatorError| match error {
        OperatorError::Refused(_) => "refused",
        OperatorError::Unavailable(_) => "unavailable",
        OperatorError::InDoubt(_) => "in doubt",
        other => panic!("{other}"),
    };
    for (answer, method, expected) in [
        (
            Answer::Say(403, "<html>no</html>".into()),
            "POST",
            "refused",
        ),
        (Answer::Status(500), "POST", "refused"),
        (Answer::Status(429), "POST", "unavailable"),
        (Answer::Status(503), "POST", "unavailable"),
        (Answer::Status(504), "POST", "in doubt"),
        (Answer::Silence, "POST", "in doubt"),
        (Answer::Silence, "GET", "unavailable"),
    ] {
        let receiver = Receiver::start([answer.clone()]).await;
        let error = send(&config(), &request(method, receiver.url("/")))
            .await
            .unwrap_err();
        assert_eq!(meaning(error), expected, "{method}: {answer:?}");
    }
    let error = send(
        &config(),
        &request("POST", format!("http://{}/", nobody().await)),
    )
    .await
    .unwrap_err();
    assert_eq!(meaning(error), "unavailable");
}
