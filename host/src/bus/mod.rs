//! The topics that join the parts: in this process, or on Kafka. One contract for both.
//!
//! At least once: what was published is delivered until its offset is committed, in order per key.
//! An offset is committed after the effect is durable, never before.

pub(crate) mod again;
#[cfg(test)]
pub(crate) mod fake;
pub mod kafka;
pub mod local;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::{Delivery, Record, Topic};

/// Why the bus could not.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The broker can't be reached or refuses; retried by the bus until its patience ended.
    #[error("{0}")]
    Unavailable(String),
    /// The message is larger than the topic takes.
    #[error("a message of {size} bytes is larger than the {limit} that {topic:?} takes")]
    TooLarge {
        /// Which topic.
        topic: Topic,
        /// Size in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The bounded queue stayed full until the time-out: slow down.
    #[error("the queue of {0:?} stayed full")]
    Full(Topic),
    /// The local store failed (disk full, …).
    #[error("cannot write to the local bus: {0}")]
    Store(String),
    /// Another server took over.
    #[error("another server writes the log of record now")]
    Fenced,
    /// The bus was shut down.
    #[error("the bus is closed")]
    Closed,
}

/// How the bus is, for `/health` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BusHealth {
    /// `local` or `kafka`.
    pub kind: &'static str,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// Messages that wait to be written.
    pub waiting: u64,
    /// How many may wait.
    pub capacity: u64,
    /// How often the queue was full.
    pub full: u64,
    /// Messages set aside as unreadable.
    pub dead_letters: u64,
}

/// The topics.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Returns when the message is durable (as far as its topic is). Waits while the queue is full,
    /// up to a bound, then [`BusError::Full`].
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError>;

    /// The same, and waits for the broker's word on metrics as well: for what is taken from
    /// elsewhere and given up there.
    async fn publish_confirmed(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.publish(topic, record).await
    }

    /// Joins a consumer group: starts at its committed offset, or at the oldest message.
    async fn subscribe(&self, topic: Topic, group: &str)
    -> Result<Box<dyn Subscription>, BusError>;

    /// Follows a topic from now on, without a group and without commits.
    async fn tail(&self, topic: Topic) -> Result<Box<dyn Subscription>, BusError>;

    /// Reads a topic from its oldest message on, and follows it, without a group and without
    /// commits.
    async fn replay(&self, topic: Topic) -> Result<Replay, BusError>;

    /// Whether who reads a message depends on its key.
    fn is_partitioned(&self) -> bool;

    /// The decisions, where they count as recorded on the bus rather than in the history of one
    /// process.
    fn log_of_record(&self) -> Option<Box<dyn LogOfRecord>> {
        None
    }

    /// How it is.
    fn health(&self) -> BusHealth;

    /// Writes what waits, up to the time-out.
    async fn drain(&self, timeout: Duration) -> Result<(), BusError>;
}

/// A topic from its oldest message on.
pub struct Replay {
    /// Reads it. What is committed there is committed nowhere.
    pub subscription: Box<dyn Subscription>,
    /// Per partition that held messages when this began, the offset after the last of them: who has
    /// got that far has caught up.
    pub ends: BTreeMap<i32, i64>,
}

/// Where events count as recorded, in order: one server writes, all may read.
#[async_trait]
pub trait LogOfRecord: Send {
    /// What it is called.
    fn name(&self) -> &str;

    /// Shuts out whoever wrote before. Neither that one nor what it had begun and not finished is
    /// heard of again.
    async fn take_over(&mut self) -> Result<(), BusError>;

    /// At most `max` messages from this offset on, and whether these are all that there are.
    async fn read(&mut self, from: i64, max: usize) -> Result<(Vec<Delivery>, bool), BusError>;

    /// Appends all of them or none, and answers the offset after the last. After an error nobody
    /// knows which: [`BusError::Fenced`] until it was taken over anew.
    async fn append(&mut self, records: Vec<Record>) -> Result<i64, BusError>;
}

/// A consumer.
#[async_trait]
pub trait Subscription: Send {
    /// Up to `max` messages, in order per key; waits for the first one up to `wait`, so that it may
    /// return none. Cancel-safe: a message that was not returned is delivered by the next call.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError>;

    /// Whether any messages come to this member of its group, as far as it has heard: it hears of
    /// it in [`Self::next`].
    fn is_active(&self) -> bool {
        true
    }

    /// Says that everything of that partition up to and with this delivery is done. Durable when it
    /// returns.
    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError>;

    /// Sets a message aside on `<topic>-dead-letter`, as it was, with the reason in the header
    /// `reason`, and where it was (`topic`, `partition`, `offset`). Does not commit.
    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError>;
}

/// The name of the topic that takes what could not be read or handled.
fn dead_letter_name(topic: &str) -> String {
    format!("{topic}-dead-letter")
}

/// The record as it was, with the reason and where it was in headers of their own.
fn dead_letter_of(delivery: &Delivery, topic: &str, reason: &str) -> Record {
    let ours = [
        ("reason", reason.to_owned()),
        ("topic", topic.to_owned()),
        ("partition", delivery.partition.to_string()),
        ("offset", delivery.offset.to_string()),
    ];
    let mut record = delivery.record.clone();
    // What was set aside, sent again and set aside again carries only the last reason.
    record
        .headers
        .retain(|(name, _)| ours.iter().all(|(our, _)| our != name));
    record
        .headers
        .extend(ours.map(|(name, value)| (name.to_owned(), Bytes::from(value))));
    record
}
