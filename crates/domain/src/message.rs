//! Messages of the topics, as plain data.

use bytes::Bytes;

use super::UnixMs;

/// Which topic. Their names on the broker are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Samples. Local: in memory, asked for again after a crash. Kafka: retained for hours.
    Metrics,
    /// Incident events.
    Incidents,
    /// Solutions; one partition, so that one server acts.
    Solutions,
    /// Every decision event, in order; one partition, kept for ever. Local: nothing but anchors, as
    /// the history is the log.
    Decisions,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Metrics,
        Self::Incidents,
        Self::Solutions,
        Self::Decisions,
    ];

    /// The name by default.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics-topic",
            Self::Incidents => "incidents-topic",
            Self::Solutions => "ai-solutions-topic",
            Self::Decisions => "decisions-topic",
        }
    }
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Messages of one key keep their order.
    pub key: Option<String>,
    /// Names are lower case.
    pub headers: Vec<(String, Bytes)>,
    /// The value.
    pub payload: Bytes,
}

impl Record {
    /// Bytes of key, headers and payload together: what limits are about.
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.key.as_ref().map_or(0, String::len) + headers + self.payload.len()
    }

    /// A header's value as text, if there is one and it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// What is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// On which topic.
    pub topic: Topic,
    /// In which partition (the local bus has one).
    pub partition: i32,
    /// Where in the partition.
    pub offset: i64,
    /// When it was published, by the clock of the producer or of the broker; None where nobody
    /// noted it.
    pub published_at: Option<UnixMs>,
    /// The message.
    pub record: Record,
}
