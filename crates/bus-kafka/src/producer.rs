//! Producer with a bounded queue. Messages are written idempotently and acknowledged by all
//! replicas.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::broker_health::{BrokerHealth, Context};
use super::config::KafkaConfig;
use anomalyzer_bus::BusError;
use anomalyzer_domain::{Record, Topic};

/// Producer with a bounded queue.
pub(super) struct RecordProducer {
    producer: ThreadedProducer<RecordContext>,
    /// Permits for messages, one per message that may wait.
    slots: Arc<Semaphore>,
    /// Permits for bytes, one per byte that may wait.
    bytes: Arc<Semaphore>,
    queue_messages: u32,
    queue_bytes: u32,
    publish_timeout: Duration,
    watch: Arc<BrokerHealth>,
}

/// Message that was handed to librdkafka. When the broker has answered, its permits are released
/// and the waiting caller is notified.
pub(super) struct InFlight {
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    confirm: Option<oneshot::Sender<KafkaResult<()>>>,
}

/// Message in the queue, whose confirmation can be awaited.
pub(super) struct Queued {
    topic: Topic,
    name: String,
    size: usize,
    time_limit: Duration,
    confirmation: oneshot::Receiver<KafkaResult<()>>,
}

impl Queued {
    /// Waits for the broker's confirmation.
    pub(super) async fn confirmed(self) -> Result<(), BusError> {
        match timeout(self.time_limit, self.confirmation).await {
            Ok(Ok(result)) => result.map_err(|error| explain(self.topic, self.size, &error)),
            Ok(Err(_)) => Err(BusError::Closed),
            Err(_) => Err(BusError::Unavailable(format!(
                "kafka did not confirm a message for {} within {} s; it goes on trying, so that it may arrive twice \
                 when it is sent again",
                self.name,
                self.time_limit.as_secs_f32()
            ))),
        }
    }
}

struct RecordContext(Context);

impl ClientContext for RecordContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for RecordContext {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        let result = result
            .as_ref()
            .map(drop)
            .map_err(|(error, _)| error.clone());
        match in_flight.confirm {
            Some(confirm) => {
                // The receiver is gone if the caller gave up waiting. That is fine.
                let _ = confirm.send(result);
            }
            None => match result {
                Ok(()) => self.0.health.report_taken(),
                Err(error) => self.0.health.report_refused(&error),
            },
        }
    }
}

impl RecordProducer {
    pub(super) fn new(
        client: &ClientConfig,
        config: &KafkaConfig,
        watch: Arc<BrokerHealth>,
    ) -> KafkaResult<Self> {
        let producer = client
            .clone()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Java clients use this partitioner too, so a key has one partition regardless of the
            // writer.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            // A message waits until the broker is back. The semaphores of this type bound the queue
            // instead.
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647")
            .create_with_context(RecordContext(Context::new(Arc::clone(&watch))))?;
        let (queue_messages, queue_bytes) =
            (config.queue_messages.max(1), config.queue_bytes.max(1));
        Ok(Self {
            producer,
            slots: Arc::new(Semaphore::new(queue_messages as usize)),
            bytes: Arc::new(Semaphore::new(queue_bytes as usize)),
            queue_messages,
            queue_bytes,
            publish_timeout: config.publish_timeout,
            watch,
        })
    }

    /// Requests the metadata of one topic, or of all topics. Blocks.
    pub(super) fn ask(&self, topic: Option<&str>, within: Duration) -> KafkaResult<()> {
        self.producer
            .client()
            .fetch_metadata(topic, within)
            .map(drop)
    }

    /// Returns the fatal error of the producer, if there is one.
    pub(super) fn fatal_error(&self) -> Option<String> {
        self.producer
            .client()
            .fatal_error()
            .map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Queues a message for `name`. If `confirmed` is true, waits for the broker's confirmation.
    pub(super) async fn send(
        &self,
        topic: Topic,
        name: &str,
        record: &Record,
        confirmed: bool,
    ) -> Result<(), BusError> {
        let queued = self.queue(topic, name, record, confirmed).await?;
        match confirmed {
            true => queued.confirmed().await,
            false => Ok(()),
        }
    }

    /// Queues a message for `name`. Messages are written in the order of the calls. `confirmed` is
    /// true if the caller waits for the broker's confirmation.
    pub(super) async fn queue(
        &self,
        topic: Topic,
        name: &str,
        record: &Record,
        confirmed: bool,
    ) -> Result<Queued, BusError> {
        if let Some((name, _)) = record.headers.iter().find(|(name, _)| name.contains('\0')) {
            return Err(BusError::Unavailable(format!(
                "kafka can't carry the header name {name:?}: it holds a NUL"
            )));
        }
        let size = record.size();
        let room = self.room(size).await.ok_or(BusError::Full(topic))?;
        let (confirm, confirmation) = oneshot::channel();
        let (slot, bytes) = room;
        let in_flight = Box::new(InFlight {
            _slot: slot,
            _bytes: bytes,
            confirm: confirmed.then_some(confirm),
        });
        let mut message = BaseRecord::with_opaque_to(name, in_flight).payload(&record.payload[..]);
        message.key = record.key.as_deref();
        if !record.headers.is_empty() {
            message.headers = Some(headers(record));
        }
        self.producer
            .send(message)
            .map_err(|(error, _)| explain(topic, size, &error))?;
        Ok(Queued {
            topic,
            name: name.to_owned(),
            size,
            time_limit: self.publish_timeout,
            confirmation,
        })
    }

    /// Acquires permits for one message of `size` bytes. Returns None on a timeout.
    async fn room(&self, size: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        // A message larger than the whole queue takes all permits and is sent alone.
        let size = u32::try_from(size)
            .unwrap_or(u32::MAX)
            .clamp(1, self.queue_bytes);
        let (slots, bytes) = (Arc::clone(&self.slots), Arc::clone(&self.bytes));
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
            && let Ok(bytes) = Arc::clone(&bytes).try_acquire_many_owned(size)
        {
            return Some((slot, bytes));
        }
        self.watch.count_full();
        let room = async {
            Some((
                slots.acquire_owned().await.ok()?,
                bytes.acquire_many_owned(size).await.ok()?,
            ))
        };
        timeout(self.publish_timeout, room).await.ok().flatten()
    }

    /// Returns the number of messages that wait for the broker's confirmation.
    pub(super) fn waiting(&self) -> u64 {
        u64::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Returns the maximum number of waiting messages.
    pub(super) fn capacity(&self) -> u64 {
        self.queue_messages.into()
    }

    /// Waits until no message is in the queue.
    pub(super) async fn drain(&self, time_limit: Duration) -> Result<(), BusError> {
        match timeout(time_limit, self.slots.acquire_many(self.queue_messages)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::Unavailable(format!(
                "{} messages still wait for kafka after {} s",
                self.waiting(),
                time_limit.as_secs_f32()
            ))),
        }
    }
}

pub(super) fn explain(topic: Topic, size: usize, error: &KafkaError) -> BusError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => BusError::TooLarge {
            topic,
            size,
            limit: size.saturating_sub(1),
        },
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => BusError::Closed,
        _ => BusError::Unavailable(format!("kafka refused a message for {topic:?}: {error}")),
    }
}

pub(super) fn headers(record: &Record) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    record
        .headers
        .iter()
        .fold(headers, |headers, (name, value)| {
            headers.insert(Header {
                key: name,
                value: Some(&value[..]),
            })
        })
}
