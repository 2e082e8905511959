//! Tests of what other producers write to Kafka: codecs, damaged batches, transactions, tombstones.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use anomalyzer_bus::{Bus, Replay, Subscription};
use anomalyzer_bus_kafka::KafkaBus;
use anomalyzer_domain::{Delivery, Topic, UNREADABLE};
use anomalyzer_testbed::shared::own_kafka;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio::time::Instant;

use super::rig::{Bounds, Kafka, TEST_TIMEOUT, number, numbered, take};

type Foreign = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

/// Opens a bus whose topics have one partition, and returns the names of its topics.
async fn open(rig: &Kafka) -> (KafkaBus, anomalyzer_bus_kafka::TopicNames) {
    let mut config = rig.config(Bounds::default());
    config.partitions = 1;
    let topics = config.topics.clone();
    (KafkaBus::connect(config).await.unwrap(), topics)
}

fn producer(brokers: &str, settings: &[(&str, &str)]) -> Foreign {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Sends numbers without keys, and waits until the broker has them.
async fn send(producer: &Foreign, topic: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let payload = number.to_string();
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    let flushing = producer.clone();
    tokio::task::spawn_blocking(move || flushing.flush(TEST_TIMEOUT))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn every_codec_of_other_producers_is_read() {
    let Some(rig) = Kafka::new("every_codec") else {
        return;
    };
    let (bus, topics) = open(&rig).await;
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (codec, from) in codecs.iter().zip((0..).step_by(100)) {
        // Some producers can only write some codecs. This client writes all that it can read.
        let producer = producer(
            &rig.brokers,
            &[("compression.type", codec), ("linger.ms", "50")],
        );
        send(&producer, &topics.metrics, from..from + 100).await;
    }
    let mut subscription = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
    let taken = take(&mut *subscription, 500).await;
    let numbers: Vec<_> = taken.iter().map(number).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

/// Change of the bytes of a batch.
type Damage = fn(&mut [u8]);

/// Changes one batch in the broker's log. `damage` gets the bytes of the batch from its header on.
fn damage_on_disk(data: &Path, topic: &str, batch: usize, damage: Damage) {
    let path = data.join(format!("{topic}-0/00000000000000000000.log"));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut log = Vec::new();
    file.read_to_end(&mut log).unwrap();
    let mut at = 0;
    let length = |at: usize| {
        let bytes: [u8; 4] = log[at + 8..at + 12].try_into().unwrap();
        12 + usize::try_from(i32::from_be_bytes(bytes)).unwrap()
    };
    for _ in 0..batch {
        at += length(at);
    }
    let mut bytes = log[at..at + length(at)].to_vec();
    damage(&mut bytes);
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
}

/// Position of the codec in the attributes of a batch, and of its first record.
const CODEC: usize = 22;
const RECORDS: usize = 61;

#[tokio::test]
async fn an_unreadable_batch_is_set_aside_and_the_rest_is_read() {
    let Some(kafka) = own_kafka("an_unreadable_batch").await else {
        return;
    };
    let data = kafka.folder().join("data");
    let kinds: [(&str, Damage); 3] = [
        ("codec", |batch| batch[CODEC] = 7),
        ("gzip", |batch| batch[CODEC] = 1),
        ("record", |batch| batch[RECORDS..].fill(0xff)),
    ];
    for (kind, damage) in kinds {
        let rig = Kafka::on(&kafka.brokers(), kind);
        let (bus, topics) = open(&rig).await;
        // Each message is a batch of its own, because the next one is sent after its confirmation.
        for i in 0..4 {
            bus.publish_confirmed(Topic::Metrics, numbered(i))
                .await
                .unwrap();
        }
        damage_on_disk(&data, &topics.metrics, 1, damage);
        let mut subscription = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
        let mut tail = bus.replay(Topic::Metrics).await.unwrap().subscription;
        for reader in [&mut subscription, &mut tail] {
            let taken = take(reader.as_mut(), 4).await;
            let offsets: Vec<_> = taken.iter().map(|delivery| delivery.offset).collect();
            assert_eq!(offsets, [0, 1, 2, 3], "{kind}");
            let reason = taken[1].record.header(UNREADABLE).unwrap();
            assert!(reason.contains("checksum is wrong"), "{kind}: {reason}");
            assert!(
                taken[1].record.payload.len() > RECORDS,
                "the bytes are kept"
            );
            assert_eq!([0, 2, 3].map(|i| number(&taken[i])), [0, 2, 3]);
        }
        // The next reader begins behind it.
        let unreadable = Delivery::unreadable(Topic::Metrics, 0, 1, "", bytes::Bytes::new());
        subscription.commit(&unreadable).await.unwrap();
        drop(subscription);
        let mut next = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
        assert_eq!(take(&mut *next, 2).await.len(), 2);
    }
}

#[tokio::test]
async fn an_unreadable_batch_of_the_log_of_record_is_reported_and_never_passed_over() {
    let Some(kafka) = own_kafka("unreadable_log").await else {
        return;
    };
    let data = kafka.folder().join("data");
    let kinds: [(&str, Damage); 3] = [
        ("log-codec", |batch| batch[CODEC] = 7),
        ("log-gzip", |batch| batch[CODEC] = 1),
        ("log-record", |batch| batch[RECORDS..].fill(0xff)),
    ];
    for (kind, damage) in kinds {
        let rig = Kafka::on(&kafka.brokers(), kind);
        let (bus, topics) = open(&rig).await;
        let mut log = bus.log_of_record().unwrap();
        log.take_over().await.unwrap();
        for number in 0..3 {
            log.append(vec![numbered(number)]).await.unwrap();
        }
        // A message and the mark of its transaction are a batch each.
        damage_on_disk(&data, &topics.decisions, 2, damage);
        let mut log = bus.log_of_record().unwrap();
        let (page, all) = log.read(0, 9).await.unwrap();
        assert_eq!(page.iter().map(number).collect::<Vec<_>>(), [0], "{kind}");
        assert!(!all, "the end was not reached");
        for _ in 0..2 {
            let error = log.read(1, 9).await.unwrap_err().to_string();
            assert!(error.contains("checksum is wrong"), "{kind}: {error}");
            assert!(error.contains("kafka-delete-records.sh"), "{error}");
            let lags = bus.health().lags;
            let lag = lags.iter().find(|lag| lag.topic == topics.decisions);
            let lag = lag.expect("the standstill is reported");
            assert!(lag.problem.is_some() && lag.messages >= 2, "{lag:?}");
        }
        // The remedy: another server has the events, and the log begins behind them.
        let (page, all) = log.read(4, 9).await.unwrap();
        assert_eq!(
            (page.iter().map(number).collect::<Vec<_>>(), all),
            (vec![2], true)
        );
        assert_eq!(bus.health().lags, []);
    }
}

/// Polls a bus with a reader until `so` returns true.
async fn read_until(
    reader: &mut dyn Subscription,
    what: &str,
    mut so: impl FnMut(&[Delivery], &dyn Subscription) -> bool,
) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut all = Vec::new();
    while !so(&all, reader) {
        assert!(Instant::now() < deadline, "not in time: {what}");
        all.extend(reader.next(100, Duration::from_millis(200)).await.unwrap());
    }
}

/// Starts a transaction with one message.
async fn begin(rig: &Kafka, topic: &str, number: usize) -> Foreign {
    let producer = producer(&rig.brokers, &[("transactional.id", topic)]);
    let starting = producer.clone();
    tokio::task::spawn_blocking(move || starting.init_transactions(TEST_TIMEOUT))
        .await
        .unwrap()
        .unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, number..number + 1).await;
    producer
}

#[tokio::test]
async fn a_partition_that_an_open_transaction_holds_is_reported_with_its_lag() {
    let Some(rig) = Kafka::new("open_transaction") else {
        return;
    };
    let (bus, topics) = open(&rig).await;
    bus.publish_confirmed(Topic::Metrics, numbered(0))
        .await
        .unwrap();
    let mut reader = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
    assert_eq!(take(&mut *reader, 1).await.len(), 1);
    let producer = begin(&rig, &topics.metrics, 1).await;
    bus.publish_confirmed(Topic::Metrics, numbered(2))
        .await
        .unwrap();
    let lag = || {
        let lags = bus.health().lags;
        lags.into_iter().find(|lag| lag.group == "reader")
    };
    let problem = || lag().and_then(|lag| lag.problem);
    read_until(&mut *reader, "the partition is reported", |all, _| {
        assert!(all.is_empty(), "the transaction is open");
        problem().is_some()
    })
    .await;
    let told = lag().unwrap();
    assert_eq!((told.partition, told.messages), (0, 2));
    assert!(
        told.problem.as_ref().unwrap().contains("open transaction"),
        "{told:?}"
    );

    let ending = producer.clone();
    tokio::task::spawn_blocking(move || ending.abort_transaction(TEST_TIMEOUT))
        .await
        .unwrap()
        .unwrap();
    read_until(&mut *reader, "the partition goes on", |all, _| {
        all.iter().map(number).eq([2]) && problem().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_replay_ends_behind_the_marks_of_a_transaction() {
    let Some(rig) = Kafka::new("marks_of_a_transaction") else {
        return;
    };
    let (bus, topics) = open(&rig).await;
    let producer = begin(&rig, &topics.incidents, 0).await;
    tokio::task::spawn_blocking(move || producer.commit_transaction(TEST_TIMEOUT))
        .await
        .unwrap()
        .unwrap();
    let Replay {
        mut subscription,
        ends,
    } = bus.replay(Topic::Incidents).await.unwrap();
    assert_eq!(ends[&0], 2, "a message and its mark");
    read_until(&mut *subscription, "the end is reached", |all, reader| {
        reader.has_read_to(0, 2) && all.len() == 1
    })
    .await;
}

#[tokio::test]
async fn tombstones_and_messages_without_a_key_arrive() {
    let Some(rig) = Kafka::new("tombstones") else {
        return;
    };
    let (bus, topics) = open(&rig).await;
    let producer = producer(&rig.brokers, &[]);
    let tombstone: BaseRecord<'_, [u8], str> = BaseRecord::to(&topics.metrics).key(&[0xff, 0, 1]);
    producer
        .send(tombstone)
        .map_err(|(error, _)| error)
        .unwrap();
    send(&producer, &topics.metrics, 5..6).await;
    let mut reader = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
    let taken = take(&mut *reader, 2).await;
    assert!(taken[0].record.payload.is_empty() && taken[0].record.key.is_some());
    assert_eq!(
        (taken[1].record.key.as_deref(), number(&taken[1])),
        (None, 5)
    );
}
