//! Kafka consumer: either a member of a group with manual commits, or a follower without group and
//! commits.

use std::io;
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
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::broker_health::{BrokerHealth, Context};
use super::producer::RecordProducer;
use super::raw_batch::{self, RawBatch};
use super::read_progress::{ReadProgress, Unread};
use anomalyzer_bus::{BusError, Subscription, dead_letter_name, dead_letter_of};
use anomalyzer_domain::{Delivery, Record, Topic};

/// Size in bytes after which a batch ends.
const BATCH_BYTES: usize = 8 << 20;
const COMMIT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Number of consecutive empty polls after which the consumer has no message left. One poll may be
/// empty because it handled another event.
const EMPTY_POLLS: u32 = 3;
/// Seconds without progress after which the missing batch is read directly, to find its fault.
const LOOK_AFTER: u32 = 3;
/// Timeout of each step of that reading.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of seconds without progress after which a batch without a visible fault is passed over.
const PASS_OVER_AFTER: u32 = 45;
/// Maximum number of retries of a commit during a rebalance.
const COMMITS_IN_REBALANCE: u32 = 10;

pub(super) struct KafkaSubscription {
    /// None only during the drop.
    consumer: Option<Arc<StreamConsumer<Context>>>,
    topic: Topic,
    name: String,
    member: bool,
    progress: Arc<ReadProgress>,
    outbox: Arc<RecordProducer>,
    watch: Arc<BrokerHealth>,
    commit_timeout: Duration,
    max_message_bytes: usize,
    closing: TaskTracker,
    /// Delivery in place of a batch that was passed over, until it is returned.
    passed_over: Option<Delivery>,
}

/// Parts of the bus that its subscriptions share.
pub(super) struct Shared {
    pub(super) outbox: Arc<RecordProducer>,
    pub(super) watch: Arc<BrokerHealth>,
    pub(super) commit_timeout: Duration,
    pub(super) max_message_bytes: usize,
    pub(super) closing: TaskTracker,
}

impl KafkaSubscription {
    pub(super) fn new(
        (consumer, progress): (StreamConsumer<Context>, Arc<ReadProgress>),
        topic: Topic,
        name: String,
        member: bool,
        shared: Shared,
    ) -> Self {
        let Shared {
            outbox,
            watch,
            commit_timeout,
            max_message_bytes,
            closing,
        } = shared;
        Self {
            consumer: Some(Arc::new(consumer)),
            topic,
            name,
            member,
            progress,
            outbox,
            watch,
            commit_timeout,
            max_message_bytes,
            closing,
            passed_over: None,
        }
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer<Context>>, BusError> {
        self.consumer.as_ref().ok_or(BusError::Closed)
    }

    /// Looks at a batch whose messages have not arrived for a while. If no client can read it,
    /// moves the consumer behind it, and returns a delivery in its place.
    async fn pass_over_unreadable(&mut self) -> Option<Delivery> {
        // A call that was cancelled may have left it here.
        if let Some(delivery) = self.passed_over.take() {
            return Some(delivery);
        }
        let unread = self.progress.take_unread(LOOK_AFTER)?;
        let batch = match timeout(LOOK_TIMEOUT, self.read_batch(unread)).await {
            Ok(Ok(batch)) => batch?,
            Ok(Err(error)) => {
                tracing::debug!(topic = self.name, ?unread, %error, "cannot look at a batch");
                return None;
            }
            Err(_) => return None,
        };
        let Unread {
            partition, next, ..
        } = unread;
        let last = batch.last.min(unread.stable_end - 1);
        let fault = batch.fault.or_else(|| {
            let waited = unread.ticks >= PASS_OVER_AFTER;
            waited.then(|| "it cannot be decompressed or read".to_owned())
        })?;
        let reason = format!(
            "unreadable batch of the offsets {next} to {last} ({}): {fault}",
            batch.description
        );
        let mut bytes = batch.bytes;
        bytes.truncate(self.max_message_bytes);
        self.passed_over = Some(Delivery::unreadable(
            self.topic,
            partition,
            last,
            &reason,
            bytes.into(),
        ));
        let (consumer, name) = (Arc::clone(self.consumer().ok()?), self.name.clone());
        let sought = tokio::task::spawn_blocking(move || {
            consumer.seek(&name, partition, Offset::Offset(last + 1), LOOK_TIMEOUT)
        });
        match sought.await {
            Ok(Ok(())) => {
                tracing::error!(
                    topic = self.name,
                    partition,
                    reason,
                    "passing over an unreadable batch"
                );
                self.watch.passed_over.fetch_add(1, Ordering::Relaxed);
                self.passed_over.take()
            }
            Ok(Err(error)) => {
                // The next tick tries again.
                tracing::warn!(topic = self.name, partition, %error, "cannot pass over a batch");
                self.passed_over = None;
                None
            }
            Err(_) => None,
        }
    }

    /// Reads the batch that does not arrive from the partition's leader.
    async fn read_batch(&self, unread: Unread) -> io::Result<Option<RawBatch>> {
        let consumer = Arc::clone(self.consumer().map_err(io::Error::other)?);
        let (name, partition) = (self.name.clone(), unread.partition);
        let asked =
            tokio::task::spawn_blocking(move || consumer.fetch_metadata(Some(&name), LOOK_TIMEOUT));
        let metadata = asked.await?.map_err(io::Error::other)?;
        let (host, port) = raw_batch::leader_of(&metadata, partition)?;
        raw_batch::read((&host, port), &self.name, partition, unread.next).await
    }

    /// Returns an error if a person must act. Other consumer errors are only logged, because
    /// librdkafka recovers by itself.
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
        if matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::BadMessage
                    | RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::NotImplemented
            )
        ) {
            // librdkafka passes over a message of an unknown format by itself.
            tracing::error!(topic = self.name, %error, "kafka has a message that cannot be read");
            self.watch.passed_over.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        tracing::debug!(topic = self.name, %error, "kafka consumer error; retrying");
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
    // rdkafka panics on a header name that is not UTF-8, and any producer can write one to the
    // topic.
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
            "ignoring unreadable message headers"
        );
        Vec::new()
    })
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + wait;
        if let Some(delivery) = self.pass_over_unreadable().await {
            return Ok(vec![delivery]);
        }
        let consumer = self.consumer()?;
        let mut stream = consumer.stream();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.is_empty() {
            match timeout_at(deadline, stream.next()).await {
                Ok(Some(Ok(message))) => batch.push(delivery(self.topic, &message)),
                Ok(Some(Err(error))) => self.judge(&error)?,
                Ok(None) => return Err(BusError::Closed),
                Err(_) => break,
            }
        }
        // From here on there is no await, so a caller that drops the future can't lose messages
        // that were already taken.
        let mut empty = 0;
        while batch.len() < max && bytes < BATCH_BYTES && empty < EMPTY_POLLS {
            match stream.next().now_or_never() {
                Some(Some(Ok(message))) => {
                    let delivery = delivery(self.topic, &message);
                    bytes += delivery.record.payload.len();
                    batch.push(delivery);
                    empty = 0;
                }
                Some(Some(Err(error))) => {
                    tracing::debug!(topic = self.name, %error, "kafka consumer error; retrying");
                    break;
                }
                Some(None) => break,
                None => empty += 1,
            }
        }
        if empty == EMPTY_POLLS {
            self.progress.note_drained();
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
            let (confirm, confirmation) = oneshot::channel();
            // A blocking task of the runtime would delay the runtime's shutdown, because a commit
            // does not return while the broker is unavailable. A plain thread does not.
            let committing = thread::Builder::new()
                .name("kafka-commit".to_owned())
                .spawn(move || {
                    // Sending fails if the caller no longer waits.
                    let _ = confirm.send(commit(&consumer, &name, partition, next));
                });
            committing.map_err(|error| {
                BusError::Unavailable(format!("cannot commit {}: {error}", self.name))
            })?;
            let no_answer = || {
                BusError::Unavailable(format!(
                    "cannot commit {}: kafka does not answer",
                    self.name
                ))
            };
            let committed = timeout_at(deadline, confirmation)
                .await
                .map_err(|_| no_answer())?;
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
                    return Err(no_answer());
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

    fn has_read_to(&self, partition: i32, end: i64) -> bool {
        self.progress.has_read_to(partition, end)
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
    /// Logs a delivery that could not be committed. Delivery is at least once, so another consumer
    /// processes it again.
    fn log_lost(&self, delivery: &Delivery, reason: &str) {
        let (partition, offset) = (delivery.partition, delivery.offset);
        tracing::warn!(
            topic = self.name,
            partition,
            offset,
            reason,
            "offset not committed; message will be redelivered to another consumer"
        );
    }
}

enum Committed {
    Done,
    Lost,
}

/// Commits an offset. Blocks until the broker has answered.
fn commit(
    consumer: &StreamConsumer<Context>,
    name: &str,
    partition: i32,
    next: i64,
) -> Result<Committed, KafkaError> {
    // A broker accepts a commit for any partition from a member. For a partition that another
    // consumer has advanced, the commit would set the offset back.
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
    /// The partition belongs to another consumer.
    Lost,
    /// The partition may belong to another consumer. The commit is retried.
    Rebalancing,
    /// The broker refused the commit. A person must act.
    Refused,
    /// The broker did not answer. The commit is retried.
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
    /// Drops the consumer on a blocking thread, if there is a runtime. Leaving a group exchanges
    /// messages with the broker, and that must not block a worker of the runtime.
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
