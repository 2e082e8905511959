//! Tests of how the operator handles refusals, missing answers and nonsense.

use std::path::Path;
use std::time::{Duration, Instant};

use anomalyzer_domain::testing::web as target;
use anomalyzer_domain::{MergePatch, Operation, OperationId, Snapshot, Target};
use anomalyzer_operator::{Operator, OperatorError, Performed};
use anomalyzer_operator_kubernetes::{Kubernetes, KubernetesConfig};
use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver, nobody};

/// Returns the Deployment at the given generation, with the given mark.
fn web(generation: u32, mark: Option<&str>) -> Value {
    web_at("7", generation, mark)
}

fn web_at(version: &str, generation: u32, mark: Option<&str>) -> Value {
    let annotations = mark.map_or(json!({}), |mark| json!({"anomalyzer.dev/operation": mark}));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "generation": generation, "resourceVersion": version,
            "annotations": annotations
        },
        "spec": {"replicas": 1},
    })
}

fn say(object: &Value) -> Answer {
    Answer::Say(200, object.to_string())
}

fn status(code: u16, reason: &str) -> Answer {
    let message = format!("because of {reason}");
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    Answer::Say(code, status.to_string())
}

/// Returns the snapshot that `inspect` would have taken of [`web`] at generation 1.
fn basis() -> Snapshot {
    Snapshot {
        version: "u/1".into(),
        ..Snapshot::plain(target(), 0, None)
    }
}

async fn connect(server: &str) -> Kubernetes {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(kubeconfig.path(), text.to_string()).unwrap();
    let config = KubernetesConfig {
        kubeconfig: Some(kubeconfig.path().to_owned()),
        request_timeout: Duration::from_millis(500),
        ..KubernetesConfig::default()
    };
    Kubernetes::connect(&config).await.unwrap()
}

/// Scales against a server that gives these answers, one to each request.
async fn scale(answers: Vec<Answer>) -> (Result<Performed, OperatorError>, Receiver) {
    let receiver = Receiver::start(answers).await;
    let operation = Operation::Scale {
        target: target(),
        replicas: 3,
    };
    let kubernetes = connect(&receiver.url("")).await;
    (
        kubernetes
            .perform(&OperationId::from("op-1"), &operation, &basis())
            .await,
        receiver,
    )
}

fn meaning(error: &OperatorError) -> &'static str {
    match error {
        OperatorError::NotFound(_) => "not found",
        OperatorError::Unsupported(_) => "unsupported",
        OperatorError::Refused(_) => "refused",
        OperatorError::Conflict(_) => "conflict",
        OperatorError::Unavailable(_) => "unavailable",
        OperatorError::InDoubt(_) => "in doubt",
    }
}

#[tokio::test]
async fn each_refusal_of_a_patch_has_its_meaning_and_is_not_repeated() {
    for (answer, expected) in [
        (status(400, "BadRequest"), "refused"),
        (status(401, "Unauthorized"), "refused"),
        (status(403, "Forbidden"), "refused"),
        (status(404, "NotFound"), "not found"),
        (status(422, "Invalid"), "refused"),
        (status(429, "TooManyRequests"), "unavailable"),
        (
            Answer::Say(403, "<html>the proxy says no</html>".into()),
            "refused",
        ),
    ] {
        let (result, receiver) = scale(vec![say(&web(1, None)), answer.clone()]).await;
        assert_eq!(meaning(&result.unwrap_err()), expected, "{answer:?}");
        assert_eq!(receiver.received().len(), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let (result, _) = scale(vec![say(&web(1, None)), status(403, "Forbidden")]).await;
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("because of Forbidden") && text.contains("deploy/kubernetes/rbac.yaml"),
        "{text}"
    );
}

#[tokio::test]
async fn a_patch_that_only_the_status_got_ahead_of_is_tried_again() {
    let (result, receiver) = scale(vec![
        say(&web(1, None)),
        status(409, "Conflict"),
        say(&web(1, None)),
        say(&web(2, Some("op-1"))),
    ])
    .await;
    assert_eq!(
        result.unwrap().before,
        Some(json!({"spec": {"replicas": 1}}))
    );
    let patches: Vec<Value> = receiver
        .received()
        .iter()
        .filter(|received| received.method == "PATCH")
        .map(|patch| patch.json())
        .collect();
    assert_eq!(patches.len(), 2);
    assert_eq!(patches[0]["metadata"]["resourceVersion"], "7");
}

#[tokio::test]
async fn an_ingress_is_patched_where_the_api_serves_it_with_its_mark_and_under_what_was_read() {
    let way_in = |mark: Option<&str>| {
        let mut object = web(1, mark);
        object["apiVersion"] = "networking.k8s.io/v1".into();
        object["kind"] = "Ingress".into();
        say(&object)
    };
    let receiver = Receiver::start(vec![way_in(None), way_in(Some("op-1"))]).await;
    let target = Target::new("shop", "Ingress", "web");
    let patch = json!({"metadata": {"annotations": {"limit-rps": "50"}}});
    let operation = Operation::Patch(MergePatch {
        target: target.clone(),
        patch,
    });
    let kubernetes = connect(&receiver.url("")).await;
    let basis = Snapshot { target, ..basis() };
    kubernetes
        .perform(&OperationId::from("op-1"), &operation, &basis)
        .await
        .unwrap();
    let received = receiver.received();
    let paths: Vec<&str> = received
        .iter()
        .map(|received| received.uri.path())
        .collect();
    assert_eq!(
        paths,
        ["/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web"; 2]
    );
    let sent = received[1].json();
    assert_eq!(
        sent["metadata"]["annotations"],
        json!({"limit-rps": "50", "anomalyzer.dev/operation": "op-1"})
    );
    assert_eq!(
        (&received[1].method, &sent["metadata"]["resourceVersion"]),
        (&reqwest::Method::PATCH, &json!("7"))
    );
}

#[tokio::test]
async fn a_change_of_the_spec_in_between_is_a_conflict() {
    let (result, receiver) = scale(vec![
        say(&web(1, None)),
        status(409, "Conflict"),
        say(&web(2, None)),
    ])
    .await;
    assert_eq!(meaning(&result.unwrap_err()), "conflict");
    assert_eq!(receiver.received().len(), 3);
    let (result, _) = scale(vec![say(&web(1, Some("op-0")))]).await;
    assert_eq!(
        meaning(&result.unwrap_err()),
        "conflict",
        "another operation was there"
    );
}

#[tokio::test]
async fn a_target_that_never_stands_still_is_given_up() {
    let answers = (0..100)
        .flat_map(|_| [say(&web(1, None)), status(409, "Conflict")])
        .collect();
    let (result, receiver) = scale(answers).await;
    assert_eq!(meaning(&result.unwrap_err()), "unavailable");
    assert!(receiver.received().len() < 40);
}

#[tokio::test]
async fn a_patch_without_an_answer_is_settled_by_looking_at_the_target() {
    let unclear = || {
        [
            Answer::Silence,
            status(500, "InternalError"),
            Answer::Status(504),
            Answer::Say(200, "<html>".into()),
        ]
    };
    for answer in unclear() {
        let (result, receiver) = scale(vec![
            say(&web(1, None)),
            answer.clone(),
            say(&web(2, Some("op-1"))),
        ])
        .await;
        assert!(result.is_ok(), "{answer:?}: {result:?}");
        assert_eq!(receiver.received().len(), 3, "{answer:?}");
    }
}

#[tokio::test]
async fn a_patch_that_has_not_come_through_yet_is_in_doubt_until_somebody_else_has_written() {
    for (version, expected) in [("7", "in doubt"), ("8", "unavailable")] {
        let look = || say(&web_at(version, 1, None));
        let (result, receiver) = scale(vec![
            say(&web(1, None)),
            status(500, "InternalError"),
            look(),
            look(),
            look(),
        ])
        .await;
        assert_eq!(meaning(&result.unwrap_err()), expected, "{version}");
        assert_eq!(
            receiver
                .received()
                .iter()
                .filter(|received| received.method == "PATCH")
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn a_patch_without_an_answer_that_somebody_may_have_put_back_is_in_doubt() {
    let mut reverted = web_at("9", 3, None);
    reverted["metadata"]["managedFields"] =
        json!([{"manager": "argocd-controller", "time": "2026-01-01T00:00:00Z"}]);
    let (result, _) = scale(vec![
        say(&web(1, None)),
        status(500, "InternalError"),
        say(&reverted),
    ])
    .await;
    let error = result.unwrap_err();
    assert_eq!(meaning(&error), "in doubt");
    assert!(error.to_string().contains("argocd-controller"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_kubernetes_knows_nothing_of_the_target() {
    let (result, _) = scale(vec![Answer::Say(404, "404 page not found".into())]).await;
    assert_eq!(meaning(&result.unwrap_err()), "unavailable");
}

#[tokio::test]
async fn nothing_is_done_to_a_target_that_is_being_deleted() {
    let mut deleted = web(1, None);
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let (result, receiver) = scale(vec![say(&deleted)]).await;
    let error = result.unwrap_err();
    assert_eq!(meaning(&error), "refused");
    assert!(error.to_string().contains("being deleted"), "{error}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_looked_at_stays_in_doubt_and_not_for_long() {
    let began = Instant::now();
    let mut answers = vec![say(&web(1, None))];
    answers.extend(std::iter::repeat_n(Answer::Silence, 10));
    let (result, _) = scale(answers).await;
    assert_eq!(meaning(&result.unwrap_err()), "in doubt");
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_operation_whose_mark_is_there_is_done_without_doing_it_again() {
    let (result, receiver) = scale(vec![say(&web(5, Some("op-1")))]).await;
    assert_eq!(result.unwrap().result, json!({"already": "done"}));
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_not_well_or_not_kubernetes_is_unavailable() {
    let gone = connect(&format!("http://{}", nobody().await)).await;
    assert_eq!(
        meaning(&gone.inspect(&target()).await.unwrap_err()),
        "unavailable"
    );
    assert!(gone.check().await.is_err());
    for answer in [
        Answer::Silence,
        Answer::Status(500),
        Answer::Say(200, "<html>".repeat(100_000)),
        status(429, "Busy"),
    ] {
        let receiver = Receiver::start([answer.clone()]).await;
        let error = connect(&receiver.url(""))
            .await
            .inspect(&target())
            .await
            .unwrap_err();
        assert_eq!(meaning(&error), "unavailable", "{answer:?}");
        assert!(error.to_string().len() < 1_000);
    }
}

#[tokio::test]
async fn a_name_from_outside_cannot_reach_another_part_of_the_api() {
    let receiver = Receiver::start([]).await;
    let kubernetes = connect(&receiver.url("")).await;
    for (namespace, name) in [
        ("shop", "../../../secrets/x"),
        ("../..", "web"),
        ("", "web"),
        ("shop", "web?x=1"),
        ("shop", ""),
    ] {
        let error = kubernetes
            .inspect(&Target::new(namespace, "Deployment", name))
            .await
            .unwrap_err();
        assert_eq!(meaning(&error), "not found", "{namespace}/{name}");
    }
    assert_eq!(
        meaning(
            &kubernetes
                .inspect(&Target::new("shop", "Secret", "x"))
                .await
                .unwrap_err()
        ),
        "unsupported"
    );
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let config = KubernetesConfig {
        kubeconfig: Some(Path::new("/no/such/file").into()),
        ..KubernetesConfig::default()
    };
    let error = Kubernetes::connect(&config)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("/no/such/file"), "{error}");
}
