//! Tests of notices to a real receiver.

use std::time::{Duration, Instant};

use anomalyzer_common::clock::now_ms;
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
        give_up_after: Duration::ZERO,
        ..NotifyConfig::default()
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
        at: now_ms(),
        until: None,
        storm: None,
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
            ..Delivered::default()
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
    let began = Instant::now();
    let told = notify(config(channels), "default").await;
    assert_eq!(told.delivered, ["good"]);
    assert_eq!(told.pending, ["silent"]);
    assert_eq!(
        told.failed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["gone"]
    );
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// Polls until `found` returns a value.
async fn wait_for<T>(found: impl AsyncFn() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), poll)
        .await
        .unwrap()
}

fn about(operation: &str) -> About {
    About {
        operation: OperationId::from(operation),
        incident: Some("inc-1".into()),
        target: None,
        severity: "critical".into(),
        at: now_ms(),
        until: None,
        storm: None,
    }
}

fn notice(channel: &str, title: &str) -> Notice {
    Notice {
        channel: channel.into(),
        title: title.into(),
        text: String::new(),
    }
}

async fn tell(notifier: &Notifier, channel: &str, operation: &str) -> Delivered {
    let notified = notifier
        .notify(&notice(channel, "slow"), &about(operation))
        .await;
    notified.unwrap()
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_wait_gets_it_and_the_notice_is_not_abandoned() {
    let discord = r#"{"message": "slow down", "retry_after": 1.0, "global": false}"#;
    let telegram = r#"{"ok": false, "error_code": 429, "parameters": {"retry_after": 1}}"#;
    for busy in [
        Answer::RetryAfter(429, "1".into()),
        Answer::RetryAfter(503, "1".into()),
        Answer::Say(429, discord.into()),
        Answer::Say(429, telegram.into()),
    ] {
        let receiver = Receiver::start([busy.clone(), busy.clone()]).await;
        let mut config = config([("chat", webhook(receiver.url("/")))]);
        config.give_up_after = Duration::from_secs(3_600);
        let notifier = Notifier::new(config).unwrap();
        let began = Instant::now();
        let told = tell(&notifier, "chat", "op-1").await;
        assert_eq!((told.failed, told.delivered.len()), (vec![], 0), "{busy:?}");
        assert_eq!(told.pending, ["chat"]);
        wait_for(async || (notifier.status()[0].delivered == 1).then_some(())).await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{busy:?}");
        assert_eq!(receiver.received().len(), 3, "{busy:?}");
    }
}

#[tokio::test]
async fn a_pause_holds_for_all_notices_of_the_channel_and_for_no_other_channel() {
    let (chat, hook) = (
        Receiver::start([Answer::RetryAfter(429, "1".into())]).await,
        Receiver::start([]).await,
    );
    let mut config = config([
        ("chat", webhook(chat.url("/"))),
        ("hook", webhook(hook.url("/"))),
    ]);
    config.give_up_after = Duration::from_secs(3_600);
    let notifier = Notifier::new(config).unwrap();
    let began = Instant::now();
    for title in ["one", "two", "three"] {
        let told = tell(&notifier, "chat", title);
        let told = tokio::time::timeout(Duration::from_millis(300), told).await;
        assert!(told.is_err(), "it waits for the channel");
        tell(&notifier, "hook", title).await;
    }
    assert_eq!(hook.received().len(), 3);
    assert!(began.elapsed() < Duration::from_secs(2));
    wait_for(async || (chat.received().len() == 4).then_some(())).await;
}

#[tokio::test]
async fn an_abandoned_notice_is_reported_by_the_other_channels_once() {
    let (bad, good) = (
        Receiver::start(vec![Answer::Status(404); 9]).await,
        Receiver::start([]).await,
    );
    let hidden = Receiver::start([]).await;
    let marked = |url: String| ChannelConfig {
        default: true,
        ..webhook(url)
    };
    let notifier = Notifier::new(config([
        ("bad", marked(bad.url("/"))),
        ("good", marked(good.url("/"))),
        ("hidden", webhook(hidden.url("/"))),
    ]))
    .unwrap();
    for operation in ["op-1", "op-2"] {
        let told = tell(&notifier, "default", operation).await;
        assert_eq!(told.delivered, ["good"]);
    }
    let titles = || -> Vec<String> {
        let received = good.received();
        let titles = received
            .iter()
            .map(|it| it.json()["title"].as_str().unwrap().to_owned());
        titles.collect()
    };
    let report = "notices to the channel `bad` do not arrive".to_owned();
    wait_for(async || (titles().len() == 3).then_some(())).await;
    assert!(titles().contains(&report), "{:?}", titles());
    let [bad, ..] = &notifier.status()[..] else {
        panic!()
    };
    assert_eq!((bad.channel.as_str(), bad.lost, bad.waiting), ("bad", 2, 0));
    let problem = bad.problem.as_ref().unwrap();
    assert!(
        problem.contains("2 abandoned") && problem.contains("404"),
        "{problem}"
    );
    assert!(hidden.received().is_empty(), "it is no default channel");
}

#[tokio::test]
async fn an_undelivered_notice_survives_a_restart_and_goes_to_its_channel_alone() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(vec![Answer::Status(503); 1]).await;
    let other = Receiver::start([]).await;
    let marked = |url: String| ChannelConfig {
        default: true,
        ..webhook(url)
    };
    let settings = NotifyConfig {
        give_up_after: Duration::from_secs(3_600),
        retry_delay: Duration::from_secs(600),
        ..config([
            ("chat", marked(receiver.url("/"))),
            ("other", marked(other.url("/"))),
        ])
    };
    let outbox = folder.path().join("notices");
    let first = settings.clone();
    let at = outbox.clone();
    // The process ends: its tasks end with their runtime.
    let process = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let notifier = Notifier::in_folder(first, at).unwrap();
            let told = tell(&notifier, "default", "op-1").await;
            assert_eq!(
                (told.delivered, told.pending),
                (vec!["other".into()], vec!["chat".into()])
            );
        });
        runtime.shutdown_background();
    });
    process.await.unwrap();
    assert_eq!(receiver.received().len(), 1);
    let notifier = Notifier::in_folder(settings, outbox.clone()).unwrap();
    notifier.resume().await;
    wait_for(async || (receiver.received().len() == 2).then_some(())).await;
    let [before, after] = &receiver.received()[..] else {
        panic!()
    };
    assert_eq!(
        before.header("idempotency-key"),
        after.header("idempotency-key")
    );
    assert_eq!(before.body, after.body);
    assert_eq!(other.received().len(), 1);
    let files = || std::fs::read_dir(&outbox).unwrap().count();
    wait_for(async || (files() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_alert_is_repeated_while_its_incident_is_open_and_ends_once_though_it_was_away() {
    let away = vec![Answer::Status(503), Answer::Status(503)];
    let receiver = Receiver::start(away).await;
    let channel = ChannelConfig::new(ChannelKind::Alertmanager, Some(receiver.url("")));
    let settings = NotifyConfig {
        resend_interval: Duration::from_millis(100),
        give_up_after: Duration::from_secs(3_600),
        ..config([("am", channel)])
    };
    let notifier = Notifier::new(settings).unwrap();
    let told = tell(&notifier, "am", "op-1").await;
    assert_eq!(told.delivered, ["am"]);
    wait_for(async || {
        notifier.resend_alerts().await;
        (receiver.received().len() >= 6).then_some(())
    })
    .await;
    assert_eq!(notifier.alerted_incidents(), ["inc-1".into()]);
    let alert = |received: &crate::receiver::Received| received.json()[0].clone();
    let received = receiver.received();
    for sent in &received {
        let (first, sent) = (alert(&received[0]), alert(sent));
        assert_eq!(
            (&sent["labels"], &sent["startsAt"]),
            (&first["labels"], &first["startsAt"])
        );
    }
    let ends = |received: &crate::receiver::Received| {
        let ends: jiff::Timestamp = alert(received)["endsAt"].as_str().unwrap().parse().unwrap();
        ends.as_millisecond()
    };
    assert!(
        ends(&received[2]) < ends(&received[5]),
        "it is valid for longer"
    );
    let over = now_ms();
    notifier.end_incident(&"inc-1".into(), over);
    for _ in 0..3 {
        notifier.resend_alerts().await;
    }
    let last = receiver.received();
    let ended: Vec<_> = last.iter().filter(|it| ends(it) == over).collect();
    assert_eq!((ended.len(), ends(last.last().unwrap())), (1, over));
    assert!(notifier.alerted_incidents().is_empty());
}

#[tokio::test]
async fn ten_thousand_alerts_are_repeated_in_few_requests() {
    let receiver = Receiver::start([]).await;
    let channel = ChannelConfig::new(ChannelKind::Alertmanager, Some(receiver.url("")));
    let notifier = Notifier::new(config([("am", channel)])).unwrap();
    for incident in 0..10_000 {
        let about = About {
            incident: Some(incident.to_string().as_str().into()),
            ..about("op")
        };
        notifier.restore_alert(&notice("am", "slow"), &about);
    }
    notifier.resend_alerts().await;
    let received = receiver.received();
    let alerts: usize = received
        .iter()
        .map(|it| it.json().as_array().unwrap().len())
        .sum();
    assert_eq!((received.len(), alerts), (20, 10_000));
    notifier.resend_alerts().await;
    assert_eq!(receiver.received().len(), 20, "none is due");
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
