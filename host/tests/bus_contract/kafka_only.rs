//! Tests of promises that only the Kafka bus makes: its behaviour when a broker is absent, dies,
//! comes back, or refuses.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anomalyzer_bus::{Bus, BusError, LogOfRecord};
use anomalyzer_bus_kafka::{KafkaBus, WhenAbsent};
use anomalyzer_domain::Topic;
use anomalyzer_testbed::shared::own_kafka;
use tokio::time::Instant;

use super::raw;
use super::rig::{Bounds, Kafka, Rig, TEST_TIMEOUT, number, numbered, record, take};

/// Polls until `so` returns true. Panics with `what` after [`TEST_TIMEOUT`].
async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn refusal(config: anomalyzer_bus_kafka::KafkaConfig) -> String {
    match KafkaBus::connect(config).await {
        Err(BusError::Unavailable(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("connected"),
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing_that_was_taken() {
    const QUEUE: usize = 50;
    const METRICS: usize = 400;
    let Some(mut kafka) = own_kafka("a_broker_that_is_killed_and_comes_back").await else {
        return;
    };
    let rig = Kafka::on(&kafka.brokers(), "killed");
    let mut config = rig.config(Bounds {
        queue: QUEUE,
        publish_timeout: Duration::from_secs(3),
        ..Bounds::default()
    });
    config.partitions = 2;
    let bus = Arc::new(KafkaBus::connect(config).await.unwrap());
    let mut metrics = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
    let mut incidents = bus.subscribe(Topic::Incidents, "reader").await.unwrap();
    bus.publish(Topic::Metrics, numbered(METRICS))
        .await
        .unwrap();
    bus.publish(Topic::Incidents, numbered(0)).await.unwrap();
    let before = take(&mut *metrics, 1).await;
    assert_eq!(number(&take(&mut *incidents, 1).await[0]), 0);
    assert_eq!(bus.health().problem, None);

    kafka.kill();
    match metrics.commit(&before[0]).await {
        Err(BusError::Unavailable(text)) => assert!(text.contains("commit"), "{text}"),
        other => panic!("{other:?}"),
    }
    let collector = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move {
            for i in 0..METRICS {
                // Retry until there is room, as a throttled source does.
                while let Err(error) = bus.publish(Topic::Metrics, numbered(i)).await {
                    assert!(matches!(error, BusError::Full(Topic::Metrics)), "{error}");
                }
            }
        }
    });
    eventually("the queue fills to its bound", || {
        bus.health().waiting == QUEUE as u64 && bus.health().full > 0
    })
    .await;
    eventually("health names the broker", || {
        bus.health()
            .problem
            .is_some_and(|problem| problem.contains(&kafka.brokers()))
    })
    .await;
    let started = Instant::now();
    let refused = bus.publish(Topic::Incidents, numbered(1)).await;
    assert!(
        matches!(refused, Err(BusError::Full(Topic::Incidents))),
        "{refused:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(
        metrics.next(10, Duration::from_millis(100)).await.unwrap(),
        [],
        "no broker, no messages, no error"
    );

    kafka.restart().await.unwrap();
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut seen = BTreeSet::new();
    while seen.len() < METRICS && Instant::now() < deadline {
        for delivery in metrics.next(100, Duration::from_secs(1)).await.unwrap() {
            // The message `METRICS` was not committed before the kill and may be delivered again.
            seen.extend(Some(number(&delivery)).filter(|number| *number != METRICS));
        }
    }
    assert_eq!(seen, (0..METRICS).collect());
    collector.await.unwrap();
    bus.drain(TEST_TIMEOUT).await.unwrap();
    bus.publish(Topic::Incidents, numbered(2)).await.unwrap();
    let mut last = 0;
    while last != 2 && Instant::now() < deadline {
        last = incidents
            .next(1, TEST_TIMEOUT)
            .await
            .unwrap()
            .first()
            .map_or(last, number);
    }
    assert_eq!(last, 2);
    eventually("health is well again", || {
        bus.health().problem.is_none() && bus.health().waiting == 0
    })
    .await;
}

#[tokio::test]
async fn an_incident_that_the_broker_does_not_confirm_in_time_is_an_error_and_arrives_later() {
    let Some(mut kafka) = own_kafka("an_incident_that_the_broker_does_not_confirm").await else {
        return;
    };
    let rig = Kafka::on(&kafka.brokers(), "unconfirmed");
    let bus = rig
        .open(Bounds {
            publish_timeout: Duration::from_secs(3),
            ..Bounds::default()
        })
        .await;
    kafka.kill();
    match bus.publish(Topic::Incidents, numbered(7)).await {
        Err(BusError::Unavailable(text)) => assert!(text.contains("did not confirm"), "{text}"),
        other => panic!("{other:?}"),
    }
    match bus.drain(Duration::from_millis(100)).await {
        Err(BusError::Unavailable(text)) => {
            assert!(text.contains("1 messages still wait"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    kafka.restart().await.unwrap();
    bus.drain(TEST_TIMEOUT).await.unwrap();
    let mut subscription = bus.subscribe(Topic::Incidents, "reader").await.unwrap();
    assert_eq!(number(&take(&mut *subscription, 1).await[0]), 7);
}

#[tokio::test]
async fn no_broker_at_the_start_is_an_error_that_names_it_and_the_remedy() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = Kafka::on(&free.to_string(), "absent").config(Bounds::default());
    config.connect_timeout = Duration::from_millis(700);
    let started = Instant::now();
    let text = refusal(config).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        text.contains(&free.to_string()) && text.contains("KAFKA_BROKERS"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn when_told_to_wait_it_connects_as_soon_as_a_broker_is_there() {
    let Some(mut kafka) = own_kafka("when_told_to_wait").await else {
        return;
    };
    kafka.kill();
    let mut config = Kafka::on(&kafka.brokers(), "waiting").config(Bounds::default());
    config.when_absent = WhenAbsent::Wait;
    // This timeout is shorter than the start of a broker, so the bus has to try more than once.
    config.connect_timeout = Duration::from_millis(500);
    let patient = tokio::spawn(async move {
        loop {
            // A broker that has just started may still be too slow to create topics in half a
            // second.
            if let Ok(bus) = KafkaBus::connect(config.clone()).await {
                return bus;
            }
        }
    });
    kafka.restart().await.unwrap();
    let bus = tokio::time::timeout(TEST_TIMEOUT, patient)
        .await
        .unwrap()
        .unwrap();
    bus.publish(Topic::Incidents, numbered(1)).await.unwrap();
}

#[tokio::test]
async fn a_solutions_topic_with_several_partitions_is_refused() {
    let Some(rig) = Kafka::new("a_solutions_topic_with_several_partitions") else {
        return;
    };
    drop(rig.open(Bounds::default()).await);
    let mut config = rig.config(Bounds::default());
    config.topics.solutions = config.topics.metrics.clone();
    let text = refusal(config).await;
    assert!(
        text.contains("has 4 partitions and must have one"),
        "{text}"
    );
}

#[tokio::test]
async fn a_topic_that_takes_less_than_configured_sets_the_limit() {
    let Some(rig) = Kafka::new("a_topic_that_takes_less") else {
        return;
    };
    drop(
        rig.open(Bounds {
            max_message_bytes: 1 << 20,
            ..Bounds::default()
        })
        .await,
    );
    let bus = rig
        .open(Bounds {
            max_message_bytes: 8 << 20,
            ..Bounds::default()
        })
        .await;
    match bus
        .publish(Topic::Incidents, record("k", vec![7; 3 << 20]))
        .await
    {
        Err(BusError::TooLarge { size, limit, .. }) => {
            assert_eq!(size, (3 << 20) + 1);
            assert!((1 << 20..2 << 20).contains(&limit), "{limit}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_commit_for_a_partition_that_moved_on_is_no_error_and_sets_nothing_back() {
    let Some(rig) = Kafka::new("a_commit_for_a_partition_that_moved_on") else {
        return;
    };
    let bus = rig.open(Bounds::default()).await;
    let publish = async |from: usize| {
        for i in from..from + 100 {
            bus.publish(Topic::Metrics, record(&format!("key-{i}"), i.to_string()))
                .await
                .unwrap();
        }
    };
    publish(0).await;
    let mut first = bus.subscribe(Topic::Metrics, "moving").await.unwrap();
    let all = take(&mut *first, 100).await;
    let partitions: BTreeSet<_> = all.iter().map(|delivery| delivery.partition).collect();
    assert_eq!(partitions.len(), 4);

    // The second member takes over some of the partitions. It processes all of their messages again
    // and commits them.
    let mut second = bus.subscribe(Topic::Metrics, "moving").await.unwrap();
    let mut newest = HashMap::new();
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut seen = 0;
    while newest.len() < 2 && Instant::now() < deadline {
        let (_, taken) = tokio::join!(
            first.next(100, Duration::from_millis(50)),
            second.next(100, Duration::from_millis(50))
        );
        let taken = taken.unwrap();
        seen += taken.len();
        newest.extend(
            taken
                .into_iter()
                .map(|delivery| (delivery.partition, delivery)),
        );
    }
    assert_eq!(
        newest.len(),
        2,
        "the second member has two of four partitions, having seen {seen}"
    );
    for delivery in newest.values() {
        second.commit(delivery).await.unwrap();
    }
    let oldest_of_lost: Vec<_> = newest
        .keys()
        .filter_map(|p| all.iter().find(|d| d.partition == *p))
        .collect();
    for delivery in oldest_of_lost {
        first.commit(delivery).await.unwrap();
    }
    drop((first, second));

    // In the partitions of the second member, no message that it committed comes again.
    let mut third = bus.subscribe(Topic::Metrics, "moving").await.unwrap();
    let kept = all
        .iter()
        .filter(|delivery| !newest.contains_key(&delivery.partition))
        .count();
    publish(100).await;
    for delivery in take(&mut *third, kept + 100).await {
        if let Some(committed) = newest.get(&delivery.partition) {
            assert!(
                delivery.offset > committed.offset,
                "{delivery:?} was committed"
            );
        }
    }
}

#[tokio::test]
async fn a_header_name_that_is_not_text_does_not_stop_the_consumer() {
    let Some(rig) = Kafka::new("a_header_name_that_is_not_text") else {
        return;
    };
    let bus = rig.open(Bounds::default()).await;
    let topic = rig.config(Bounds::default()).topics.solutions;
    raw::produce(&rig.brokers, &topic, b"fine", b"1").await;
    raw::produce(&rig.brokers, &topic, b"\xff\xfe", b"2").await;
    bus.publish(Topic::Solutions, numbered(3)).await.unwrap();
    let mut subscription = bus.subscribe(Topic::Solutions, "reader").await.unwrap();
    let taken = take(&mut *subscription, 3).await;
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        taken[0].record.headers,
        [("fine".to_owned(), bytes::Bytes::new())]
    );
    assert_eq!(taken[0].published_at, Some(1_700_000_000_000));
    assert_eq!(taken[1].record.headers, []);
}

#[tokio::test]
async fn whoever_takes_over_the_log_of_record_shuts_the_other_out_and_reads_all_that_it_finished() {
    let Some(rig) = Kafka::new("log_of_record") else {
        return;
    };
    let (first, second) = (
        rig.open(Bounds::default()).await,
        rig.open(Bounds::default()).await,
    );
    let (mut old, mut new) = (
        first.log_of_record().unwrap(),
        second.log_of_record().unwrap(),
    );
    assert!(
        matches!(old.append(vec![numbered(0)]).await, Err(BusError::Fenced)),
        "nobody took over yet"
    );
    old.take_over().await.unwrap();
    let group = |numbers: std::ops::Range<usize>| numbers.map(numbered).collect::<Vec<_>>();
    let next = old.append(group(0..3)).await.unwrap();
    assert_eq!(next, 3);
    let next = old.append(group(3..5)).await.unwrap();
    let read = async |log: &mut Box<dyn LogOfRecord>, from, max| {
        let (page, all) = log.read(from, max).await.unwrap();
        (page.iter().map(number).collect::<Vec<_>>(), all)
    };
    assert_eq!(read(&mut new, 0, 2).await, (vec![0, 1], false));
    assert_eq!(
        read(&mut new, 2, 9).await,
        (vec![2, 3, 4], true),
        "the marks between transactions are no messages"
    );
    assert_eq!(read(&mut new, next, 9).await, (vec![], true));
    // Read again: every read at the end reports the end.
    assert_eq!(read(&mut new, next, 9).await, (vec![], true));

    new.take_over().await.unwrap();
    new.append(group(5..6)).await.unwrap();
    assert!(matches!(
        old.append(group(7..9)).await,
        Err(BusError::Fenced)
    ));
    assert!(
        matches!(old.append(group(7..9)).await, Err(BusError::Fenced)),
        "and stays shut out"
    );
    new.append(group(6..7)).await.unwrap();
    assert_eq!(
        read(&mut new, next, 9).await,
        (vec![5, 6], true),
        "nothing of the other's"
    );
    let large = record("large", vec![0; Bounds::default().max_message_bytes + 1]);
    assert!(matches!(
        new.append(vec![large]).await,
        Err(BusError::TooLarge { .. })
    ));
    new.append(group(7..8)).await.unwrap();
    old.take_over().await.unwrap();
    assert_eq!(read(&mut old, next, 9).await, (vec![5, 6, 7], true));
}
