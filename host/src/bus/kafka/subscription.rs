//! A consumer: a member of a group with commits by hand, or a follower without either.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use super::outbox::Outbox;
use super::watch::{Context, Watch};
use crate::bus::{BusError, Subscription, dead_letter_name, dead_letter_of};
use crate::domain::{Delivery, Record, Topic};

/// One batch ends after that many bytes.
const BATCH_BYTES: usize = 8 << 20;
const COMMIT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a commit that falls into a rebalance is tried again.
const COMMITS_IN_REBALANCE: u32 = 10;

pub(super) struct KafkaSubscription {
    /// None only while it is dropped.
    consumer: Option<Arc<StreamConsumer<Context>>>,
    topic: Topic,
    name: String,
    member: bool,
    outbox: Arc<Outbox>,
    watch: Arc<Watch>,
    commit_timeout: Duration,
    closing: TaskTracker,
}

/// What a subscription shares with the bus.
pub(super) struct Shared {
    pub(super) outbox: Arc<Outbox>,
    pub(super) watch: Arc<Watch>,
    pub(super) commit_timeout: Duration,
    pub(super) closing: TaskTracker,
}

impl KafkaSubscription {
    pub(super) fn new(
        consumer: StreamConsumer<Context>,
        topic: Topic,
        name: String,
        member: bool,
        shared: Shared,
    ) -> Self {
        let Shared {
            outbox,
            watch,
            commit_timeout,
            closing,
        } = shared;
        Self {
            consumer: Some(Arc::new(consumer)),
            topic,
            name,
            member,
            outbox,
            watch,
            commit_timeout,
            closing,
        }
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer<Context>>, BusError> {
        self.consumer.as_ref().ok_or(BusError::Closed)
    }

    /// Errors of a consumer are news, not ends: librdkafka goes on by itself. But some need a
    /// person.
    fn judge(&self, error: &KafkaError) -> Result<(), BusError> {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
        let refused = matches!(
            error.rdkafka_error_code(),
            Some(GroupAuthorizationFailed | TopicAuthorizationFailed)
        );
        if refused || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(BusError::Unavailable(format!(
                "cannot read {}: {error}",
                self.name
            )));
        }
        tracing::debug!(topic = self.name, %error, "the consumer goes on");
        Ok(())
    }
}

pub(super) fn delivery(topic: Topic, message: &BorrowedMessage<'_>) -> Delivery {
    let key = message
        .key()
        .map(|key| String::from_utf8_lossy(key).into_owned());
    let payload = message
        .payload()
        .map_or_else(Bytes::new, Bytes::copy_from_slice);
    let record = Record {
        key,
        headers: headers(message),
        payload,
    };
    let published_at = message.timestamp().to_millis();
    Delivery {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        published_at,
        record,
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let Some(headers) = message.headers() else {
        return Vec::new();
    };
    // rdkafka panics on a header name that is not UTF-8, which anybody can write to the topic.
    let read = catch_unwind(AssertUnwindSafe(|| {
        headers
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.map_or_else(Bytes::new, Bytes::copy_from_slice),
                )
            })
            .collect()
    }));
    read.unwrap_or_else(|_| {
        tracing::warn!(
            topic = message.topic(),
            partition = message.partition(),
            offset = message.offset(),
            "the headers of a message are unreadable and ignored"
        );
        Vec::new()
    })
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + wait;
        let consumer = self.consumer()?;
        let mut stream = consumer.stream();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.is_empty() {
            match timeout_at(deadline, stream.next()).await {
                Ok(Some(Ok(message))) => batch.push(delivery(self.topic, &message)),
                Ok(Some(Err(error))) => self.judge(&error)?,
                Ok(None) => return Err(BusError::Closed),
                Err(_) => return Ok(batch),
            }
        }
        // From here on nothing waits, so that nothing that was taken can be lost by a caller that
        // goes away.
        while batch.len() < max && bytes < BATCH_BYTES {
            match stream.next().now_or_never() {
                Some(Some(Ok(message))) => {
                    let delivery = delivery(self.topic, &message);
                    bytes += delivery.record.payload.len();
                    batch.push(delivery);
                }
                Some(Some(Err(error))) => {
                    tracing::debug!(topic = self.name, %error, "the consumer goes on");
                    break;
                }
                _ => break,
            }
        }
        Ok(batch)
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError> {
        if !self.member {
            return Ok(());
        }
        let deadline = Instant::now() + self.commit_timeout;
        let mut rebalancing = 0;
        loop {
            let (consumer, name) = (Arc::clone(self.consumer()?), self.name.clone());
            let (partition, next) = (delivery.partition, delivery.offset + 1);
            let (told, word) = oneshot::channel();
            // Not a task of the runtime, which would wait for it at its end: while the broker is
            // away this does not return.
            let committing = thread::Builder::new()
                .name("kafka-commit".to_owned())
                .spawn(move || {
                    // Fails when nobody waits any more.
                    let _ = told.send(commit(&consumer, &name, partition, next));
                });
            committing.map_err(|error| {
                BusError::Unavailable(format!("cannot commit {}: {error}", self.name))
            })?;
            let given_up = || {
                BusError::Unavailable(format!(
                    "cannot commit {}: kafka does not answer",
                    self.name
                ))
            };
            let committed = timeout_at(deadline, word).await.map_err(|_| given_up())?;
            let error = match committed.map_err(|_| BusError::Closed)? {
                Ok(Committed::Done) => return Ok(()),
                Ok(Committed::Lost) => {
                    self.log_lost(delivery, "it belongs to another consumer now");
                    return Ok(());
                }
                Err(error) => error,
            };
            match judge_commit(&error) {
                CommitError::Lost => {
                    self.log_lost(delivery, &error.to_string());
                    return Ok(());
                }
                CommitError::Rebalancing if rebalancing == COMMITS_IN_REBALANCE => {
                    self.log_lost(delivery, &error.to_string());
                    return Ok(());
                }
                CommitError::Rebalancing => rebalancing += 1,
                CommitError::Refused => {
                    return Err(BusError::Unavailable(format!(
                        "cannot commit {}: {error}",
                        self.name
                    )));
                }
                CommitError::Silent if Instant::now() + COMMIT_AGAIN_AFTER > deadline => {
                    return Err(given_up());
                }
                CommitError::Silent => {}
            }
            sleep(COMMIT_AGAIN_AFTER).await;
        }
    }

    fn is_active(&self) -> bool {
        let assigned = self.consumer.as_ref().map(|consumer| consumer.assignment());
        !self.member || matches!(assigned, Some(Ok(assigned)) if assigned.count() > 0)
    }

    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError> {
        let record = dead_letter_of(delivery, &self.name, reason);
        self.outbox
            .send(self.topic, &dead_letter_name(&self.name), &record, true)
            .await?;
        self.watch.dead_letters.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl KafkaSubscription {
    /// At least once: another consumer does it again.
    fn log_lost(&self, delivery: &Delivery, reason: &str) {
        let (partition, offset) = (delivery.partition, delivery.offset);
        tracing::warn!(
            topic = self.name,
            partition,
            offset,
            reason,
            "not committed: it is delivered again elsewhere"
        );
    }
}

enum Committed {
    Done,
    Lost,
}

/// Blocks until the broker has answered.
fn commit(
    consumer: &StreamConsumer<Context>,
    name: &str,
    partition: i32,
    next: i64,
) -> Result<Committed, KafkaError> {
    // A broker takes any partition from a member, also one that has moved on, and would set it
    // back.
    if consumer
        .assignment()?
        .find_partition(name, partition)
        .is_none()
    {
        return Ok(Committed::Lost);
    }
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(name, partition, Offset::Offset(next))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    Ok(Committed::Done)
}

enum CommitError {
    /// The partition is somebody else's.
    Lost,
    /// It may be; asked again.
    Rebalancing,
    /// A person must see to it.
    Refused,
    /// No answer; asked again.
    Silent,
}

fn judge_commit(error: &KafkaError) -> CommitError {
    use RDKafkaErrorCode::{
        AssignmentLost, FencedInstanceId, GroupAuthorizationFailed, IllegalGeneration,
        InvalidCommitOffsetSize, NoOffset, OffsetMetadataTooLarge, RebalanceInProgress,
        TopicAuthorizationFailed, UnknownMemberId, UnknownTopicOrPartition,
    };
    match error.rdkafka_error_code() {
        Some(
            AssignmentLost | FencedInstanceId | IllegalGeneration | NoOffset | UnknownMemberId,
        ) => CommitError::Lost,
        Some(RebalanceInProgress) => CommitError::Rebalancing,
        Some(
            GroupAuthorizationFailed
            | InvalidCommitOffsetSize
            | OffsetMetadataTooLarge
            | TopicAuthorizationFailed
            | UnknownTopicOrPartition,
        ) => CommitError::Refused,
        _ => CommitError::Silent,
    }
}

impl Drop for KafkaSubscription {
    /// Leaving a group takes a word with the broker, which must not block a worker of the runtime.
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(
                self.closing
                    .spawn_blocking_on(move || drop(consumer), &runtime),
            ),
            Err(_) => drop(consumer),
        }
    }
}
