//! Tests of notices to a real receiver.

use std::time::Duration;

use anomalyzer_domain::{Notice, OperationId, Target};
use anomalyzer_egress::notify::{
    About, ChannelConfig, ChannelKind, Delivered, Notifier, NotifyConfig, NotifyError,
};

use crate::receiver::{Answer, Receiver, nobody};

fn config(channels: impl IntoIterator<Item = (&'static str, ChannelConfig)>) -> NotifyConfig {
    NotifyConfig {
        channels: channels
            .into_iter()
            .map(|(name, channel)| (name.to_owned(), channel))
            .collect(),
        timeout: Duration::from_millis(500),
        attempts: 3,
        retry_delay: Duration::from_millis(10),
    }
}

fn webhook(url: String) -> ChannelConfig {
    ChannelConfig::new(ChannelKind::Webhook, Some(url))
}

async fn notify(config: NotifyConfig, channel: &str) -> Delivered {
    try_notify(config, channel).await.unwrap()
}

async fn try_notify(config: NotifyConfig, channel: &str) -> Result<Delivered, NotifyError> {
    let about = About {
        operation: OperationId::from("op-1"),
        incident: Some("inc-1".into()),
        target: Some(Target::new("shop", "Deployment", "web")),
        severity: "critical".into(),
        at: 0,
    };
    let notice = Notice {
        channel: channel.into(),
        title: "web is slow".into(),
        text: "p99 is 2 s".into(),
    };
    Notifier::new(config)?.notify(&notice, &about).await
}

#[tokio::test]
async fn a_webhook_gets_the_notice_with_the_operation_as_idempotency_key() {
    let receiver = Receiver::start([]).await;
    let told = notify(config([("hook", webhook(receiver.url("/in?x=1")))]), "hook").await;
    assert_eq!(
        told,
        Delivered {
            delivered: vec!["hook".into()],
            failed: vec![]
        }
    );
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].uri, "/in?x=1");
    assert_eq!(received[0].header("idempotency-key"), "op-1");
    let body = received[0].json();
    assert_eq!(
        (&body["title"], &body["text"]),
        (&"web is slow".into(), &"p99 is 2 s".into())
    );
    assert_eq!(body["target"]["name"], "web");
}

#[tokio::test]
async fn alertmanager_gets_an_alert_on_its_api_v2() {
    let receiver = Receiver::start([]).await;
    let channel = ChannelConfig::new(
        ChannelKind::Alertmanager,
        Some(receiver.url("/alertmanager/")),
    );
    notify(config([("am", channel)]), "am").await;
    let received = receiver.received();
    assert_eq!(received[0].uri, "/alertmanager/api/v2/alerts");
    let alerts = received[0].json();
    assert_eq!(alerts[0]["labels"]["alertname"], "Anomalyzer");
    assert_eq!(alerts[0]["labels"]["target"], "default/shop/Deployment/web");
}

#[tokio::test]
async fn a_notice_to_default_goes_to_all_that_are_marked_so() {
    let receiver = Receiver::start([]).await;
    let marked = |path: &str| ChannelConfig {
        default: true,
        ..webhook(receiver.url(path))
    };
    let channels = [
        ("a", marked("/a")),
        ("b", marked("/b")),
        ("c", webhook(receiver.url("/c"))),
    ];
    assert_eq!(
        notify(config(channels), "default").await.delivered,
        ["a", "b"]
    );
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn without_any_channel_a_notice_goes_to_the_log() {
    assert_eq!(notify(config([]), "default").await.delivered, ["log"]);
    assert_eq!(notify(config([]), "log").await.delivered, ["log"]);
}

#[tokio::test]
async fn an_unknown_channel_is_an_error_that_names_the_known_ones() {
    let error = try_notify(config([]), "pager").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no channel `pager`: known are log"
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_no_longer_than_configured() {
    let receiver = Receiver::start([
        Answer::Status(503),
        Answer::Status(429),
        Answer::Status(200),
    ])
    .await;
    assert!(
        notify(config([("hook", webhook(receiver.url("/")))]), "hook")
            .await
            .failed
            .is_empty()
    );
    assert_eq!(receiver.received().len(), 3);

    let receiver = Receiver::start([
        Answer::Status(500),
        Answer::Status(500),
        Answer::Status(500),
    ])
    .await;
    let told = notify(config([("hook", webhook(receiver.url("/")))]), "hook").await;
    assert!(
        told.failed[0].1.contains("500") && told.failed[0].1.contains("tried 3 times"),
        "{told:?}"
    );
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let receiver = Receiver::start([Answer::Status(404)]).await;
    let told = notify(config([("hook", webhook(receiver.url("/")))]), "hook").await;
    assert!(told.failed[0].1.contains("404"), "{told:?}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn silence_ends_with_the_time_limit_and_one_dead_channel_does_not_stop_the_other() {
    let silent = Receiver::start([Answer::Silence, Answer::Silence, Answer::Silence]).await;
    let good = Receiver::start([]).await;
    let marked = |url: String| ChannelConfig {
        default: true,
        ..webhook(url)
    };
    let channels = [
        ("gone", marked(format!("http://{}/", nobody().await))),
        ("good", marked(good.url("/"))),
        ("silent", marked(silent.url("/"))),
    ];
    let told = notify(config(channels), "default").await;
    assert_eq!(told.delivered, ["good"]);
    assert_eq!(
        told.failed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["gone", "silent"]
    );
}

#[tokio::test]
async fn a_url_from_a_file_is_used_and_never_told() {
    let receiver = Receiver::start([]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut channel = ChannelConfig::new(ChannelKind::Slack, None);
    channel.url_file = Some(file.path().to_owned());

    std::fs::write(
        file.path(),
        format!("{}\n", receiver.url("/services/hush-hush")),
    )
    .unwrap();
    assert_eq!(
        notify(config([("chat", channel.clone())]), "chat")
            .await
            .delivered,
        ["chat"]
    );
    assert_eq!(receiver.received()[0].uri, "/services/hush-hush");
    assert_eq!(
        receiver.received()[0].json()["text"],
        "*web is slow*\np99 is 2 s"
    );

    std::fs::write(
        file.path(),
        format!("http://{}/services/hush-hush", nobody().await),
    )
    .unwrap();
    let told = notify(config([("chat", channel)]), "chat").await;
    assert!(
        !told.failed.is_empty() && !format!("{told:?}").contains("hush-hush"),
        "{told:?}"
    );
}
