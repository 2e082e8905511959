//! Opens a bus of each kind on a new, empty store.

use std::sync::Arc;
use std::time::Duration;

use anomalyzer_bus::{Bus, Subscription};
use anomalyzer_bus_kafka::{KafkaBus, KafkaConfig, TopicNames};
use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
use anomalyzer_domain::{Delivery, Record, Topic};
use async_trait::async_trait;
use bytes::Bytes;

/// Maximum time that a test waits for an expected event.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Bounds that are small enough to be reached in a test.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub queue: usize,
    pub publish_timeout: Duration,
    pub max_message_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queue: 1000,
            publish_timeout: Duration::from_secs(30),
            max_message_bytes: 1 << 20,
        }
    }
}

/// Bus under test.
#[async_trait]
pub trait Tested: Bus {
    async fn set_aside(&self, topic: Topic) -> Vec<Delivery>;
}

#[async_trait]
impl Tested for LocalBus {
    async fn set_aside(&self, topic: Topic) -> Vec<Delivery> {
        self.dead_letters(topic, 100).await.unwrap()
    }
}

#[async_trait]
impl Tested for KafkaBus {
    async fn set_aside(&self, topic: Topic) -> Vec<Delivery> {
        self.dead_letters(topic, 100).await.unwrap()
    }
}

/// Opens buses on one store. A bus reads the messages that an earlier bus published.
#[async_trait]
pub trait Rig: Sync {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Tested>;
}

pub struct Local(tempfile::TempDir);

impl Local {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.0.path().join("bus.sqlite")
    }
}

#[async_trait]
impl Rig for Local {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Tested> {
        let config = LocalBusConfig {
            queue_messages: bounds.queue,
            metrics_messages: bounds.queue,
            publish_timeout: bounds.publish_timeout,
            max_message_bytes: bounds.max_message_bytes,
            ..LocalBusConfig::default()
        };
        Arc::new(LocalBus::open(&self.file(), config).await.unwrap())
    }
}

pub struct Kafka {
    pub brokers: String,
    prefix: String,
}

impl Kafka {
    /// Uses separate topics on the shared broker.
    pub fn new(test: &str) -> Option<Self> {
        Some(Self::on(
            &anomalyzer_testbed::shared::kafka(test)?.brokers,
            test,
        ))
    }

    pub fn on(brokers: &str, test: &str) -> Self {
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        Self {
            brokers: brokers.to_owned(),
            prefix: format!("{test}-{unique}"),
        }
    }

    pub fn config(&self, bounds: Bounds) -> KafkaConfig {
        let name = |topic: Topic| format!("{}-{}", self.prefix, topic.default_name());
        KafkaConfig {
            brokers: self.brokers.clone(),
            topics: TopicNames {
                metrics: name(Topic::Metrics),
                incidents: name(Topic::Incidents),
                solutions: name(Topic::Solutions),
                decisions: name(Topic::Decisions),
            },
            queue_messages: bounds.queue.try_into().unwrap(),
            publish_timeout: bounds.publish_timeout,
            max_message_bytes: bounds.max_message_bytes,
            connect_timeout: TEST_TIMEOUT,
            session_timeout: Duration::from_secs(6),
            ..KafkaConfig::default()
        }
    }
}

#[async_trait]
impl Rig for Kafka {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Tested> {
        Arc::new(KafkaBus::connect(self.config(bounds)).await.unwrap())
    }
}

/// Builds a record under the key `key`.
pub fn record(key: &str, payload: impl Into<Bytes>) -> Record {
    Record {
        key: Some(key.to_owned()),
        headers: Vec::new(),
        payload: payload.into(),
    }
}

/// Builds a record that contains `number`.
pub fn numbered(number: usize) -> Record {
    record(&format!("key-{}", number % 7), number.to_string())
}

/// Returns the number that a record of [`numbered`] contains.
pub fn number(delivery: &Delivery) -> usize {
    std::str::from_utf8(&delivery.record.payload)
        .unwrap()
        .parse()
        .unwrap()
}

/// Returns the next `count` messages, or fewer if they do not arrive in time.
pub async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    take_within(subscription, count, TEST_TIMEOUT).await
}

pub async fn take_within(
    subscription: &mut dyn Subscription,
    count: usize,
    time_limit: Duration,
) -> Vec<Delivery> {
    let deadline = tokio::time::Instant::now() + time_limit;
    let mut taken = Vec::new();
    while taken.len() < count {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            break;
        }
        taken.extend(
            subscription
                .next(count - taken.len(), left.min(Duration::from_secs(1)))
                .await
                .unwrap(),
        );
    }
    taken
}
