//! Tests of the engine on its own, including findings from the time before it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anomalyzer_bus::{Bus, BusError, BusLayer, Subscription};
use anomalyzer_bus_kafka::{KafkaBus, KafkaConfig, TopicNames};
use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
use anomalyzer_common::clock::now_ms;
use anomalyzer_detect::{
    Backfill, DetectStatus, DroppedCounters, Engine, Feedback, IncidentConfig, IncidentCorrelator,
    IncidentLog, Vote,
};
use anomalyzer_domain::testing::{self, web};
use anomalyzer_domain::{
    Delivery, DetectorConfig, IncidentEvent, IncidentEventKind, Labels, MetricBatch, Record,
    Sample, Series, Target, Topic, UnixMs,
};
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use anomalyzer_service::config;
use anomalyzer_wire::AcceptedTime;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::wait::until;

const START: UnixMs = 1_769_860_800_000;
const MINUTE: Duration = Duration::from_secs(60);

fn series(samples: Vec<Sample>) -> Series {
    Series {
        labels: Labels::new([("__name__", "latency")]),
        samples,
    }
}

/// Past of a source: one value per second, up to the start.
struct Past(Vec<f64>);

#[async_trait]
impl Backfill for Past {
    async fn history(&self, _: &str, from: UnixMs, to: UnixMs) -> Option<Vec<(Target, Series)>> {
        let ages = (1..=self.0.len() as i64).rev();
        let samples = self.0.iter().zip(ages).map(|(value, age)| Sample {
            at: START - age * 1000,
            value: *value,
        });
        Some(vec![(
            web(),
            series(
                samples
                    .filter(|sample| (from..=to).contains(&sample.at))
                    .collect(),
            ),
        )])
    }
}

fn engine(bus: &Arc<dyn Bus>, backfill: Option<Arc<dyn Backfill>>) -> Engine {
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins");
    let cache = Some(config::cache_folder().join("compiled"));
    let plugins = Plugins::load(PluginConfig {
        folder: plugins.into(),
        cache,
        ..PluginConfig::default()
    })
    .unwrap();
    let settings = serde_json::json!({"spike": 5, "drop": 5, "clear_samples": 2});
    let zscore = DetectorConfig {
        name: "zscore".into(),
        settings: settings.as_object().unwrap().clone(),
    };
    let config = IncidentConfig {
        confirm_after: Duration::ZERO,
        quiet_for: Duration::from_secs(1),
        ..IncidentConfig::default()
    };
    let book = IncidentCorrelator::new(config, IncidentLog::default());
    Engine::new(
        Arc::clone(bus),
        plugins,
        vec![],
        vec![zscore],
        book,
        Duration::from_secs(60),
    )
    .with_backfill(backfill)
}

/// Builds a batch with one sample of a signal about the target.
fn batch(signal: &str, at: UnixMs, value: f64) -> Record {
    anomalyzer_wire::metrics::encode(&MetricBatch {
        series: vec![series(vec![Sample { at, value }])],
        ..testing::batch(signal, at, value)
    })
}

/// Runs an engine that finds `past` in the source and then receives the values of `live`, one per
/// second. Returns the events of the engine once there are at least `many`.
async fn events(past: Vec<f64>, live: &[f64], many: usize) -> Vec<IncidentEvent> {
    events_on(LocalBusConfig::default(), None, past, live, many).await
}

async fn events_on(
    config: LocalBusConfig,
    feedback: Option<Feedback>,
    past: Vec<f64>,
    live: &[f64],
    many: usize,
) -> Vec<IncidentEvent> {
    let folder = tempfile::tempdir().unwrap();
    let bus = LocalBus::open(&folder.path().join("bus.sqlite"), config)
        .await
        .unwrap();
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let mut engine = engine(&bus, Some(Arc::new(Past(past))));
    if let Some(feedback) = feedback {
        engine = engine.with_feedback(feedback);
    }
    let mut incidents = bus.subscribe(Topic::Incidents, "test").await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(engine.run("detect", shutdown.clone()));
    for (second, value) in (0..).zip(live) {
        let at = START + second * 1000;
        bus.publish(Topic::Metrics, batch("latency", at, *value))
            .await
            .unwrap();
    }
    let mut events = Vec::new();
    until("the events come", MINUTE, async || {
        for delivery in incidents
            .next(100, Duration::from_millis(100))
            .await
            .unwrap()
        {
            events.push(anomalyzer_wire::incidents::decode(&delivery).unwrap());
        }
        (events.len() >= many).then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    events
}

fn ordinary(seconds: usize) -> Vec<f64> {
    (0..seconds)
        .map(|second| 100.0 + (second % 3) as f64)
        .collect()
}

#[tokio::test]
async fn an_anomaly_that_began_before_the_start_counts_from_the_start() {
    let past = [ordinary(60), vec![300.0; 10]].concat();
    let events = events(past, &[300.0, 100.0, 101.0, 102.0, 103.0], 4).await;
    // Events that become due are published after a batch of messages is processed, so the order in
    // between is not fixed.
    let kinds: Vec<IncidentEventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        (kinds[0], kinds[kinds.len() - 1]),
        (IncidentEventKind::Opened, IncidentEventKind::Cleared)
    );
    let incident = &events[0].incident;
    assert_eq!(
        (incident.opened_at, &incident.target),
        (START - 10_000, &web())
    );
}

#[tokio::test]
async fn what_people_called_noise_is_held_back_and_what_is_far_out_is_told_all_the_same() {
    let live = [100.0, 107.0, 100.0, 101.0, 102.0, 300.0];
    let told = events(ordinary(60), &live, 1).await;
    let (incident, finding) = (&told[0].incident, &told[0].incident.findings[0]);
    assert_eq!(incident.opened_at, START + 1_000);
    assert!((1.0..2.0).contains(&finding.score), "{finding:?}");

    let folder = tempfile::tempdir().unwrap();
    let feedback = Feedback::open(folder.path()).unwrap();
    for at in 0..2 {
        let vote = Vote {
            finding: finding.id.to_string(),
            useful: false,
            by: "ada".into(),
            why: String::new(),
            at,
        };
        feedback.say(&incident.target, finding, vote).await.unwrap();
    }
    let told = events_on(
        LocalBusConfig::default(),
        Some(feedback.clone()),
        ordinary(60),
        &live,
        1,
    )
    .await;
    assert_eq!(told[0].incident.opened_at, START + 5_000);

    feedback.take_back(&feedback.all()[0].id).await.unwrap();
    let told = events_on(
        LocalBusConfig::default(),
        Some(feedback),
        ordinary(60),
        &live,
        1,
    )
    .await;
    assert_eq!(told[0].incident.opened_at, START + 1_000);
}

#[tokio::test]
async fn what_began_and_ended_before_the_start_says_nothing() {
    let past = [ordinary(60), vec![300.0; 10], ordinary(20)].concat();
    let events = events(past, &[100.0, 101.0, 500.0, 500.0], 1).await;
    assert_eq!(events[0].incident.opened_at, START + 2_000);
}

#[tokio::test]
async fn an_incident_that_is_too_large_for_the_topic_is_told_without_its_samples() {
    let config = LocalBusConfig {
        max_message_bytes: 2000,
        ..LocalBusConfig::default()
    };
    let past = [ordinary(60), vec![300.0; 10]].concat();
    let events = events_on(config, None, past, &[300.0], 1).await;
    let incident = &events[0].incident;
    assert_eq!(incident.opened_at, START - 10_000);
    assert!(
        incident.samples[0].samples.len() < 60,
        "{} samples",
        incident.samples[0].samples.len()
    );
}

#[tokio::test]
async fn signals_that_nobody_configured_are_watched_up_to_a_bound_and_the_idle_make_room() {
    const MAX_SIGNALS: usize = 256;
    let folder = tempfile::tempdir().unwrap();
    let bus = LocalBus::open(&folder.path().join("bus.sqlite"), LocalBusConfig::default())
        .await
        .unwrap();
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let (status, overlooked, shutdown) = (
        Arc::default(),
        Arc::<DroppedCounters>::default(),
        CancellationToken::new(),
    );
    let engine = engine(&bus, None)
        .with_status(Arc::clone(&status))
        .with_dropped(Arc::clone(&overlooked));
    let running = tokio::spawn(engine.run("detect", shutdown.clone()));
    let watches = |signal: &str| {
        let status: std::collections::BTreeMap<String, DetectStatus> = status.lock().clone();
        (status.len(), status.contains_key(signal))
    };
    for number in 0..MAX_SIGNALS {
        bus.publish(
            Topic::Metrics,
            batch(&format!("signal-{number}"), START, 1.0),
        )
        .await
        .unwrap();
    }
    until("all that are allowed are watched", MINUTE, async || {
        (watches("").0 == MAX_SIGNALS).then_some(())
    })
    .await;
    bus.publish(Topic::Metrics, batch("one-more", START + 1000, 1.0))
        .await
        .unwrap();
    let count = || overlooked.messages.load(Relaxed);
    until("one is overlooked", MINUTE, async || {
        (count() == 1).then_some(())
    })
    .await;
    assert_eq!(watches("one-more"), (MAX_SIGNALS, false));
    bus.publish(Topic::Metrics, batch("signal-7", START + 3_000_000, 1.0))
        .await
        .unwrap();
    bus.publish(Topic::Metrics, batch("one-more", START + 3_601_000, 1.0))
        .await
        .unwrap();
    until("the idle have made room", MINUTE, async || {
        (watches("one-more") == (2, true)).then_some(())
    })
    .await;
    assert_eq!((watches("signal-7").1, count()), (true, 1));
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Bus that refuses to set messages aside until `sets_aside` is true.
struct Stubborn {
    bus: LocalBus,
    sets_aside: Arc<AtomicBool>,
}

struct StubbornSubscription {
    subscription: Box<dyn Subscription>,
    sets_aside: Arc<AtomicBool>,
}

#[async_trait]
impl BusLayer for Stubborn {
    fn below(&self) -> &dyn Bus {
        &self.bus
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let subscription = self.bus.subscribe(topic, group).await?;
        Ok(Box::new(StubbornSubscription {
            subscription,
            sets_aside: Arc::clone(&self.sets_aside),
        }))
    }
}

#[async_trait]
impl Subscription for StubbornSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        self.subscription.next(max, wait).await
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError> {
        self.subscription.commit(delivery).await
    }

    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError> {
        if !self.sets_aside.load(Relaxed) {
            return Err(BusError::Unavailable("nothing is set aside".to_owned()));
        }
        self.subscription.dead_letter(delivery, reason).await
    }
}

#[tokio::test]
async fn what_can_be_neither_read_nor_set_aside_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let bus = LocalBus::open(&folder.path().join("bus.sqlite"), LocalBusConfig::default())
        .await
        .unwrap();
    let sets_aside = Arc::new(AtomicBool::new(false));
    let bus: Arc<dyn Bus> = Arc::new(Stubborn {
        bus,
        sets_aside: Arc::clone(&sets_aside),
    });
    // The first message is garbage, and the second one claims to be from the far future.
    for record in [
        Record {
            key: None,
            headers: vec![],
            payload: b"garbage".as_slice().into(),
        },
        batch("latency", now_ms() + 3_600_000, 1.0),
    ] {
        bus.publish(Topic::Metrics, record).await.unwrap();
    }
    let shutdown = CancellationToken::new();
    let ended = tokio::time::timeout(MINUTE, engine(&bus, None).run("detect", shutdown.clone()))
        .await
        .unwrap();
    assert!(
        ended
            .unwrap_err()
            .to_string()
            .contains("nothing is set aside")
    );
    assert_eq!(bus.health().waiting, 2);
    sets_aside.store(true, Relaxed);
    let running = tokio::spawn(engine(&bus, None).run("detect", shutdown.clone()));
    until("both are set aside", MINUTE, async || {
        (bus.health().dead_letters == 2).then_some(())
    })
    .await;
    until("and done with", MINUTE, async || {
        (bus.health().waiting == 0).then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_others_send_without_a_key_gets_that_of_its_target() {
    const NAME: &str = "what_others_send_without_a_key_gets_that_of_its_target";
    let Some(kafka) = anomalyzer_testbed::shared::kafka(NAME) else {
        return;
    };
    let name = |topic: &str| format!("rekeyed-{}-{topic}", std::process::id());
    let topics = TopicNames {
        metrics: name("metrics"),
        incidents: name("incidents"),
        solutions: name("solutions"),
        decisions: name("decisions"),
    };
    let config = KafkaConfig {
        brokers: kafka.brokers,
        topics,
        ..KafkaConfig::default()
    };
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::connect(config).await.unwrap());
    let mut follower = bus.tail(Topic::Metrics).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(engine(&bus, None).run("detect", shutdown.clone()));
    let payload =
        br#"{"name": "cpu", "value": 93.5, "timestamp": 1769860800, "labels": {"host": "a"}}"#;
    let record = Record {
        key: None,
        headers: vec![],
        payload: payload.as_slice().into(),
    };
    bus.publish(Topic::Metrics, record).await.unwrap();
    let mut seen = Vec::new();
    let ours = until(
        "the message comes again, as ours",
        Duration::from_secs(60),
        async || {
            seen.extend(follower.next(10, Duration::from_millis(100)).await.unwrap());
            seen.iter()
                .find(|delivery| delivery.record.key.is_some())
                .cloned()
        },
    )
    .await;
    let batch = anomalyzer_wire::metrics::decode(&ours, AcceptedTime::at(now_ms())).unwrap();
    assert_eq!(ours.record.key.as_deref(), Some("default//Metric/cpu"));
    assert!(batch.foreign);
    assert_eq!(
        batch.series[0].samples,
        [Sample {
            at: 1_769_860_800_000,
            value: 93.5
        }]
    );
    shutdown.cancel();
    running.await.unwrap().unwrap();
    seen.extend(follower.next(10, Duration::from_millis(500)).await.unwrap());
    assert_eq!(seen.len(), 2, "it comes again once");
}
