//! Tests of direct scrapes of servers that answer well, badly, or not at all.

use anomalyzer_collect::{Collector, Endpoint, Groups};
use anomalyzer_domain::Target;
use tokio::sync::watch;

use super::*;

const QUEUE: &str = r#"
    [[signal]]
    name = "queue"
    source = { gauge = { of = "app_queue_length", by = ["replica"] } }
    target = { kind = "Process", name = "web" }
"#;

const TRAFFIC: &str = r#"
    [[signal]]
    name = "traffic"
    source = { rate = { of = "app_requests_total", window = "10s" } }
    target = { kind = "Process", name = "web" }
"#;

const WEB: &str = r#"
    interval = "50ms"
    [[scrape]]
    job = "web"
    targets = { group = "web" }
    timeout = "300ms"
"#;

/// Builds a process group of the given servers, named `a`, `b`, ….
fn group(servers: &[&Server]) -> (watch::Sender<Vec<Endpoint>>, Groups) {
    let (sender, receiver) = watch::channel(endpoints(servers));
    (sender, Groups::from([("web".to_owned(), receiver)]))
}

fn endpoints(servers: &[&Server]) -> Vec<Endpoint> {
    let named = servers.iter().zip('a'..);
    named
        .map(|(server, name)| Endpoint {
            replica: name.to_string(),
            url: server.url.clone(),
        })
        .collect()
}

#[tokio::test]
async fn each_replica_is_a_series_and_a_replica_that_goes_is_closed_once() {
    let (a, b) = (
        Server::start(text("app_queue_length 1\n")).await,
        Server::start(text("app_queue_length 2\n")).await,
    );
    let (sender, groups) = group(&[&a, &b]);
    let running = start(WEB, QUEUE, &groups);
    let batch = running
        .batch("both replicas", |batch| values(batch) == [1.0, 2.0])
        .await;
    assert_eq!(batch.target, Some(Target::new("", "Process", "web")));
    assert_eq!(
        (batch.coverage, batch.foreign, batch.signal.as_str()),
        (coverage(2, 2, 0), false, "queue")
    );
    assert_eq!(
        batch.series[0].labels.to_string(),
        r#"{__name__="queue", replica="a"}"#
    );

    sender.send_replace(endpoints(&[&a]));
    let batch = running
        .batch("a closed series", |batch| !closed(batch).is_empty())
        .await;
    assert_eq!(closed(&batch), [r#"{__name__="queue", replica="b"}"#]);
    assert_eq!(
        (values(&batch), batch.coverage),
        (vec![1.0], coverage(1, 1, 0))
    );
    let after = running.batch("the next round", |_| true).await;
    assert_eq!((values(&after), closed(&after)), (vec![1.0], vec![]));

    sender.send_replace(Vec::new());
    let batch = running
        .batch("nobody to ask", |batch| batch.coverage.asked == 0)
        .await;
    assert_eq!((values(&batch), closed(&batch).len()), (vec![], 1));
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart_and_none_of_them_closes_a_series_or_becomes_a_zero() {
    let server = Server::start(text("app_queue_length 1\n")).await;
    let (sender, groups) = group(&[&server]);
    let running = start(WEB, QUEUE, &groups);
    for (says, kind, message) in [
        (Says::Status(404, ""), "status", "check the path"),
        (Says::Status(500, "boom"), "status", "(`boom`)"),
        (Says::Html, "unexpected", "<html>Log in</html>"),
        (
            Says::Half("app_queue_length 1\n"),
            "cut_short",
            "broke off in the middle",
        ),
        (
            text("{\"queue\": 1}\n"),
            "malformed",
            "line 1 (`{\"queue\": 1}`): `=` is expected",
        ),
        (
            text("app_queue_length 1\r\n"),
            "malformed",
            "the line ends with a carriage return",
        ),
        (Says::Nothing, "timed_out", "did not answer within 300ms"),
    ] {
        running
            .batch("an answer", |batch| values(batch) == [1.0])
            .await;
        server.say(says);
        let batch = running
            .batch("a failure", |batch| batch.coverage == coverage(1, 0, 1))
            .await;
        assert!(batch.series.is_empty(), "{batch:?}");
        let status = running.status(kind, |status| status.failing).await;
        let failure = status.last_failure.unwrap();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(
            failure.message.contains(message) && failure.message.contains(&server.url),
            "{failure:?}"
        );
        assert_eq!(status.series, 1);
        server.say(text("app_queue_length 1\n"));
        running.status("a recovery", |status| !status.failing).await;
    }
    sender.send_replace(vec![Endpoint {
        replica: "a".to_owned(),
        url: format!("http://{}", nowhere().await),
    }]);
    let status = running.status("unreachable", |status| status.failing).await;
    assert_eq!(status.last_failure.unwrap().kind, "unreachable");
}

#[tokio::test]
async fn an_exposition_above_the_limit_is_refused() {
    let server = Server::start(Says::Text("app_queue_length 1\n".repeat(100))).await;
    let (_sender, groups) = group(&[&server]);
    let running = start(&format!("{WEB}\nbody_limit = 1000"), QUEUE, &groups);
    let status = running.status("a failure", |status| status.failing).await;
    assert_eq!(status.last_failure.unwrap().kind, "too_large");
}

#[tokio::test]
async fn one_hanging_replica_takes_its_part_out_of_a_sum_and_the_others_are_still_asked() {
    let (a, b) = (
        Server::start(text("")).await,
        Server::start(Says::Nothing).await,
    );
    let (_sender, groups) = group(&[&a, &b]);
    let signals = format!(
        "{}{}",
        QUEUE.replace(", by = [\"replica\"]", ""),
        QUEUE
            .replace("queue\"", "longest\"")
            .replace(", by = [\"replica\"]", ", aggregate = \"max\"")
    );
    let running = start(WEB, &signals, &groups);
    a.say(text("app_queue_length 3\n"));
    let longest = running
        .batch("the longest", |batch| {
            batch.signal == "longest" && values(batch) == [3.0]
        })
        .await;
    assert_eq!(longest.coverage, coverage(2, 1, 1));
    let sum = running
        .batch("the sum", |batch| batch.signal == "queue")
        .await;
    assert_eq!((values(&sum), sum.coverage), (vec![], coverage(2, 1, 1)));
}

#[tokio::test]
async fn a_counter_that_begins_anew_makes_no_rate_below_zero_and_no_spike() {
    let server = Server::start(text("app_requests_total 1000000\n")).await;
    let (_sender, groups) = group(&[&server]);
    let running = start(WEB, TRAFFIC, &groups);
    running
        .batch("two scrapes at rest", |batch| values(batch) == [0.0])
        .await;
    server.say(text("app_requests_total 10\n"));
    let batch = running
        .batch("the reset", |batch| {
            values(batch).iter().any(|rate| *rate != 0.0)
        })
        .await;
    // The rate is ten requests over at most the ten seconds of the window and at least one
    // interval.
    assert!((1.0..=200.0).contains(&values(&batch)[0]), "{batch:?}");
}

#[tokio::test]
async fn a_source_of_the_future_is_dropped_and_told_and_watched_when_its_clock_is_right() {
    let far = 4_102_444_800_000_u64;
    let server = Server::start(Says::Text(format!("app_queue_length 5 {far}\n"))).await;
    let (_sender, groups) = group(&[&server]);
    let running = start(WEB, QUEUE, &groups);
    let status = running
        .status("dropped samples", |status| status.future > 3)
        .await;
    assert_eq!((status.samples, status.failing), (0, false));
    assert!(status.notes[0].contains("ten minutes in the future"));
    let spots = running.blind_spots.all();
    assert_eq!(spots[0].kind.id(), "samples_dropped");
    server.say(text("app_queue_length 50\n"));
    running
        .batch("a sample", |batch| values(batch) == [50.0])
        .await;
}

#[tokio::test]
async fn a_list_that_can_not_be_had_is_a_failure_until_it_was_had_once_and_then_the_last_one_counts()
 {
    let replica = Server::start(text("app_queue_length 1\n")).await;
    let list = Server::start(Says::Html).await;
    let collect = WEB.replace("group = \"web\"", &format!("http_sd = \"{}\"", list.url));
    let signals = QUEUE.replace("\"replica\"", "\"pod\"");
    let running = start(&collect, &signals, &Groups::new());
    let batch = running
        .batch("a failure", |batch| batch.coverage == coverage(1, 0, 1))
        .await;
    assert!(batch.series.is_empty());
    let address = replica.url.strip_prefix("http://").unwrap();
    list.say(Says::Text(format!(
        r#"[{{"targets":["{address}"],"labels":{{"pod":"web-1","__meta_x":"y"}}}}]"#
    )));
    let batch = running
        .batch("the listed replica", |batch| values(batch) == [1.0])
        .await;
    assert_eq!(
        batch.series[0].labels.to_string(),
        r#"{__name__="queue", pod="web-1"}"#
    );
    let asked = list.asked();
    list.say(Says::Status(500, ""));
    let deadline = Instant::now() + Duration::from_secs(20);
    while list.asked() < asked + 2 {
        assert!(
            Instant::now() < deadline,
            "the list was not asked for again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let batch = running.batch("the listed replica", |_| true).await;
    assert_eq!(batch.coverage, coverage(1, 1, 0));
}

#[tokio::test]
async fn while_nobody_takes_the_samples_the_source_is_not_asked() {
    let server = Server::start(text("app_queue_length 1\n")).await;
    let (_sender, groups) = group(&[&server]);
    let running = start_with(WEB, QUEUE, &groups, 3);
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.asked() < 4 {
        assert!(Instant::now() < deadline, "only {} scrapes", server.asked());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Three batches were taken, and the fourth waits. While another collector makes ten rounds,
    // this source is not asked again.
    let other = Server::start(text("app_queue_length 1\n")).await;
    let (_other_sender, other_groups) = group(&[&other]);
    let _other_running = start(WEB, QUEUE, &other_groups);
    while other.asked() < 10 {
        assert!(
            Instant::now() < deadline,
            "only {} scrapes of the other",
            other.asked()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((server.asked(), running.kept.batches.lock().len()), (4, 3));
    running.kept.permits.add_permits(1000);
    running
        .batch("a later sample", |batch| values(batch) == [1.0])
        .await;
}

#[tokio::test]
async fn a_signal_with_an_interval_of_its_own_is_derived_that_often() {
    let server = Server::start(text("app_queue_length 1\n")).await;
    let (_sender, groups) = group(&[&server]);
    let seldom = QUEUE.replace("queue\"", "seldom\"\ninterval = \"200ms\"");
    let running = start(WEB, &format!("{QUEUE}{seldom}"), &groups);
    let rounds = |signal| {
        let batches = running.kept.batches.lock();
        batches
            .iter()
            .filter(|batch| batch.signal == signal)
            .map(|batch| batch.observed_at)
            .collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while rounds("seldom").len() < 4 {
        assert!(Instant::now() < deadline, "only {:?}", rounds("seldom"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The signal is derived in the first round, and then in each round that is 200 ms after the
    // last one, give or take half a tick. The real duration of the rounds does not matter.
    let seldom = rounds("seldom");
    let mut expected = Vec::new();
    for at in rounds("queue") {
        if expected.last().is_none_or(|last| at - last >= 200 - 25) {
            expected.push(at);
        }
    }
    assert_eq!(seldom, expected[..seldom.len()]);
}

#[tokio::test]
async fn the_shutdown_waits_for_no_source() {
    let server = Server::start(Says::Nothing).await;
    let (_sender, groups) = group(&[&server]);
    let config = toml::from_str(&WEB.replace("300ms", "1h")).unwrap();
    let kept = Arc::new(Kept {
        batches: Mutex::default(),
        permits: Semaphore::new(0),
    });
    let collector = Collector::new(config, read_signals(QUEUE), &groups, kept).unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(collector.run(shutdown.clone()));
    while server.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// Sink that panics.
struct Panics;

#[async_trait]
impl Sink for Panics {
    async fn send(&self, _: MetricBatch) -> Result<(), SinkError> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_round_that_panics_ends_the_collector_with_an_error() {
    let server = Server::start(text("app_queue_length 1\n")).await;
    let (_sender, groups) = group(&[&server]);
    let collector = Collector::new(
        toml::from_str(WEB).unwrap(),
        read_signals(QUEUE),
        &groups,
        Arc::new(Panics),
    )
    .unwrap();
    let ended = tokio::time::timeout(
        Duration::from_secs(20),
        collector.run(CancellationToken::new()),
    )
    .await;
    assert!(ended.unwrap().unwrap_err().is_panic());
}

#[tokio::test]
async fn a_group_that_the_operator_does_not_have_is_an_error_at_the_start() {
    let config = toml::from_str(WEB).unwrap();
    let kept = Arc::new(Kept {
        batches: Mutex::default(),
        permits: Semaphore::new(0),
    });
    let error = Collector::new(config, read_signals(QUEUE), &Groups::new(), kept)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("the process group `web`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_line_that_can_not_be_used_is_noted_and_the_others_are_used() {
    let server = Server::start(text("app_queue_length 1\nother{x= 3\n")).await;
    let (_sender, groups) = group(&[&server]);
    let running = start(WEB, QUEUE, &groups);
    running
        .batch("the value", |batch| values(batch) == [1.0])
        .await;
    let status = running
        .status("a note", |status| !status.notes.is_empty())
        .await;
    let said = "the first: line 2 (`other{x= 3`): a text in quotes is expected";
    assert!(
        !status.failing && status.notes[0].contains(said),
        "{status:?}"
    );
    server.say(text("app_queue_length 2\n"));
    running
        .status("no note", |status| status.notes.is_empty())
        .await;
}

#[tokio::test]
async fn series_beyond_the_limit_of_a_source_are_left_out_and_noted_and_others_stay() {
    let series = |round: u32| {
        let flood = (0..50).map(|number| format!("m{{t=\"{round}-{number}\"}} 1\n"));
        text(&flood.collect::<String>())
    };
    let (hostile, honest) = (
        Server::start(series(0)).await,
        Server::start(text("m{t=\"web\"} 1\n")).await,
    );
    let (_sender, groups) = group(&[&hostile, &honest]);
    let signals = r#"
        [[signal]]
        name = "m"
        source = { gauge = { of = "m", by = ["t"] } }
        target = { kind = "Pod", name = "{{t}}" }
    "#;
    let running = start(&format!("series_limit = 10\n{WEB}"), signals, &groups);
    let web = Some(Target::new("", "Pod", "web"));
    for round in 1..5 {
        hostile.say(series(round));
        running
            .batch("the honest target", |batch| {
                batch.target == web && values(batch) == [1.0]
            })
            .await;
    }
    let status = running
        .status("a note", |status| !status.notes.is_empty())
        .await;
    let said = format!("{}/metrics brings more series", hostile.url);
    assert!(status.notes[0].contains(&said), "{status:?}");
    assert!(status.targets <= 11 && status.series <= 11, "{status:?}");
}
