//! Contract of every bus: topics to publish to, subscriptions, and the log of record.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::error::BusError;
use anomalyzer_domain::{Delivery, Record, Topic};

/// State of the bus, for `/health` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BusHealth {
    /// `local` or `kafka`.
    pub kind: &'static str,
    /// The current problem, if there is one.
    pub problem: Option<String>,
    /// Number of messages in the write queue.
    pub waiting: u64,
    /// Capacity of the write queue.
    pub capacity: u64,
    /// Number of times that the queue was full.
    pub full: u64,
    /// Number of dead letters.
    pub dead_letters: u64,
    /// Number of messages or batches that no client can read, and that were passed over.
    pub unreadable: u64,
    /// Lag of each partition that this process reads. The local bus reports none.
    pub lags: Vec<PartitionLag>,
}

/// Lag of a consumer of this process in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PartitionLag {
    /// Name of the topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Consumer group.
    pub group: String,
    /// Number of messages that the consumer has not taken yet.
    pub messages: u64,
    /// The reason, with the remedy, if the partition stands still.
    pub problem: Option<String>,
}

/// A bus: it publishes to topics and opens subscriptions.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes a message. Returns when the message is as durable as its topic. Waits up to a
    /// bound while the queue is full, then returns [`BusError::Full`].
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError>;

    /// Publishes a message and waits until the broker confirms it, also on `Metrics`. A caller
    /// needs this before it gives up its own copy of the message. See [`Self::publish`].
    async fn publish_confirmed(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.publish(topic, record).await
    }

    /// Publishes messages in their order, and returns when all of them are as durable as their
    /// topic. After an error, part of them may have been published: publish all of them again.
    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        for record in records {
            self.publish(topic, record.clone()).await?;
        }
        Ok(())
    }

    /// Joins a consumer group. The subscription starts at the committed offset of the group, or at
    /// the oldest message.
    async fn subscribe(&self, topic: Topic, group: &str)
    -> Result<Box<dyn Subscription>, BusError>;

    /// Follows a topic from now on, without a group or commits.
    async fn tail(&self, topic: Topic) -> Result<Box<dyn Subscription>, BusError>;

    /// Reads a topic from its oldest message on and then follows it, without a group or commits.
    async fn replay(&self, topic: Topic) -> Result<Replay, BusError>;

    /// Returns true if messages are partitioned by key.
    fn is_partitioned(&self) -> bool;

    /// Returns the log of record, if decisions count as recorded on the bus rather than in the
    /// history of one process.
    fn log_of_record(&self) -> Option<Box<dyn LogOfRecord>> {
        None
    }

    /// Returns the state of the bus.
    fn health(&self) -> BusHealth;

    /// Writes the queued messages, within `timeout`.
    async fn drain(&self, timeout: Duration) -> Result<(), BusError>;
}

/// A reader of a whole topic, from its oldest message on.
pub struct Replay {
    /// Reads the topic. Commits on it have no effect.
    pub subscription: Box<dyn Subscription>,
    /// For each partition that held messages at the start: the offset after its last message. A
    /// reader has caught up when it reaches these offsets.
    pub ends: BTreeMap<i32, i64>,
}

/// The ordered log in which events count as recorded. One server writes it; all servers may read
/// it.
#[async_trait]
pub trait LogOfRecord: Send {
    /// Returns the name of the log.
    fn name(&self) -> &str;

    /// Excludes the previous writer and aborts its unfinished appends.
    async fn take_over(&mut self) -> Result<(), BusError>;

    /// Reads at most `max` messages from offset `from` on. The flag is true if no more messages
    /// exist.
    async fn read(&mut self, from: i64, max: usize) -> Result<(Vec<Delivery>, bool), BusError>;

    /// Appends all records or none, and returns the offset after the last one. After an error the
    /// outcome is unknown, so that every call returns [`BusError::Fenced`] until the next
    /// [`Self::take_over`].
    async fn append(&mut self, records: Vec<Record>) -> Result<i64, BusError>;
}

/// The consumer side of a topic.
#[async_trait]
pub trait Subscription: Send {
    /// Returns up to `max` messages, in order per key. Waits up to `wait` for the first message,
    /// and returns none if no message arrives.
    ///
    /// Cancel-safe: the next call delivers a message that this call did not return.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError>;

    /// Returns true if the group assigns messages to this member. [`Self::next`] updates the
    /// answer.
    fn is_active(&self) -> bool {
        true
    }

    /// Returns true if [`Self::next`] has returned all messages of a partition before the offset
    /// `end`. A reader needs this if the partition ends with marks that are no messages.
    fn has_read_to(&self, _partition: i32, _end: i64) -> bool {
        false
    }

    /// Commits all messages of the partition up to and including `delivery`. The commit is durable
    /// when this returns.
    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError>;

    /// Copies a message unchanged to `<topic>-dead-letter`. Adds the header `reason`, and `topic`,
    /// `partition` and `offset` for its origin. Does not commit.
    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError>;
}
