//! Messages of the topics, as plain data.

use bytes::Bytes;

use super::UnixMs;

/// A topic. Its name on the broker is configurable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Samples. The local bus keeps them in memory; they are collected again after a crash. Kafka
    /// retains them for hours.
    Metrics,
    /// Incident events.
    Incidents,
    /// Solutions. The topic has one partition, so that one server acts.
    Solutions,
    /// Every decision event, in order. The topic has one partition and is kept forever. On the
    /// local bus it holds only anchors, because the history is the log.
    Decisions,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 4] = [
        Self::Metrics,
        Self::Incidents,
        Self::Solutions,
        Self::Decisions,
    ];

    /// Returns the default name on the broker.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics-topic",
            Self::Incidents => "incidents-topic",
            Self::Solutions => "ai-solutions-topic",
            Self::Decisions => "decisions-topic",
        }
    }
}

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Messages with the same key keep their order.
    pub key: Option<String>,
    /// Header names are lower case.
    pub headers: Vec<(String, Bytes)>,
    /// The value.
    pub payload: Bytes,
}

impl Record {
    /// Returns the bytes of key, headers and payload together. Size limits apply to this number.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.key.as_ref().map_or(0, String::len) + headers + self.payload.len()
    }

    /// Returns the value of the header `name`, if the header exists and is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Header of a delivery that stands for messages which no client can read. Its value is the reason.
pub const UNREADABLE: &str = "anomalyzer-unreadable";

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic.
    pub topic: Topic,
    /// The partition. The local bus has one per topic.
    pub partition: i32,
    /// The position in the partition.
    pub offset: i64,
    /// Time of publication, by the clock of the producer or of the broker. None if it is unknown.
    pub published_at: Option<UnixMs>,
    /// The message.
    pub record: Record,
}

impl Delivery {
    /// Makes a delivery in place of messages that no client can read. `offset` is that of the last
    /// of them, and `bytes` are their bytes as far as they are known. A consumer sets it aside like
    /// any message that it can't read.
    pub fn unreadable(
        topic: Topic,
        partition: i32,
        offset: i64,
        reason: &str,
        bytes: Bytes,
    ) -> Self {
        Self {
            topic,
            partition,
            offset,
            published_at: None,
            record: Record {
                key: None,
                headers: vec![(UNREADABLE.to_owned(), Bytes::from(reason.to_owned()))],
                payload: bytes,
            },
        }
    }
}
