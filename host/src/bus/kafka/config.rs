//! Configuration of the connection to Kafka and of its topics.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Topic, duration};

/// Names of the topics on the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicNames {
    /// Topic for samples.
    pub metrics: String,
    /// Topic for incident events.
    pub incidents: String,
    /// Topic for solutions.
    pub solutions: String,
    /// Topic for decision events.
    pub decisions: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        let [metrics, incidents, solutions, decisions] =
            Topic::ALL.map(|topic| topic.default_name().to_owned());
        Self {
            metrics,
            incidents,
            solutions,
            decisions,
        }
    }
}

impl TopicNames {
    /// Returns the name of a topic.
    pub fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Metrics => &self.metrics,
            Topic::Incidents => &self.incidents,
            Topic::Solutions => &self.solutions,
            Topic::Decisions => &self.decisions,
        }
    }
}

/// Reaction to a missing broker at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenAbsent {
    /// Fail with an error after the connect timeout.
    #[default]
    Fail,
    /// Warn after each connect timeout, and retry until the caller gives up.
    Wait,
}

/// Configuration of Kafka as a bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Addresses of the brokers: `host:port`, separated by commas.
    pub brokers: String,
    /// Names of the topics.
    pub topics: TopicNames,
    /// Number of partitions of the metrics and incidents topics when they are created. It is the
    /// number of engines that can share the work. The solutions and decisions topics always have
    /// one partition.
    pub partitions: u16,
    /// Number of replicas of each partition when topics are created. The default is three, or the
    /// number of brokers if there are fewer.
    pub replication: Option<u16>,
    /// Retention of the metrics topic when it is created.
    #[serde(with = "duration")]
    pub metrics_retention: Duration,
    /// Maximum size of a message in bytes: key, headers and payload together.
    pub max_message_bytes: usize,
    /// Maximum number of messages that wait for the broker.
    pub queue_messages: u32,
    /// Maximum total size of the waiting messages in bytes.
    pub queue_bytes: u32,
    /// Time that a publisher waits for room in the queue, and then again for the broker's
    /// confirmation.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// Time to look for a broker at the start.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Reaction to a missing broker at the start.
    pub when_absent: WhenAbsent,
    /// Time without a sign of life after which a consumer loses its partitions. Brokers accept 6 s
    /// and more.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topics: TopicNames::default(),
            partitions: 4,
            replication: None,
            metrics_retention: Duration::from_secs(6 * 3600),
            max_message_bytes: 16 << 20,
            queue_messages: 20_000,
            queue_bytes: 64 << 20,
            publish_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            when_absent: WhenAbsent::default(),
            session_timeout: Duration::from_secs(10),
        }
    }
}
