//! How Kafka is reached, and what its topics are like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Topic, duration};

/// The names of the topics on the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicNames {
    /// Samples.
    pub metrics: String,
    /// Incident events.
    pub incidents: String,
    /// Solutions.
    pub solutions: String,
    /// Decision events.
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
    /// The name of one.
    pub fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Metrics => &self.metrics,
            Topic::Incidents => &self.incidents,
            Topic::Solutions => &self.solutions,
            Topic::Decisions => &self.decisions,
        }
    }
}

/// What to do when no broker answers at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenAbsent {
    /// Give up with an error after the connect time-out.
    #[default]
    Fail,
    /// Warn after each connect time-out and go on trying until whoever connects gives up.
    Wait,
}

/// Kafka as a bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Names of the topics.
    pub topics: TopicNames,
    /// Partitions of metrics and of incidents, when they are created: so many engines can share the
    /// work. Solutions and decisions always have one.
    pub partitions: u16,
    /// Copies of each partition, when topics are created. By default three, or as many as there are
    /// brokers.
    pub replication: Option<u16>,
    /// How long metrics stay on the topic, when it is created.
    #[serde(with = "duration")]
    pub metrics_retention: Duration,
    /// The largest message, in bytes: key, headers and payload together.
    pub max_message_bytes: usize,
    /// How many messages may wait for the broker.
    pub queue_messages: u32,
    /// How many bytes of them.
    pub queue_bytes: u32,
    /// How long a publisher waits for room, and then for the broker's word.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// How long to look for a broker at the start.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// What to do when there is none.
    pub when_absent: WhenAbsent,
    /// After so long without a sign of life a consumer's partitions go to others. Brokers take 6 s
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
