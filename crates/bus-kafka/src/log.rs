//! `decisions-topic` as the log of record. One server at a time writes it in transactions, and all
//! servers read it.
//!
//! A server that takes over initialises transactions under the one transactional id of this topic.
//! The broker then fences the previous writer and ends its unfinished transactions (KIP-98).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::try_join_all;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::timeout;

use super::broker_health::Context;
use super::producer::{explain, headers};
use super::raw_batch::{self, RawBatch};
use super::subscription::delivery;
use anomalyzer_bus::{BusError, LogOfRecord, PartitionLag};
use anomalyzer_domain::{Delivery, Record, Topic};

/// Group of the reader. It never joins the group and never commits.
const GROUP: &str = "anomalyzer-log";
/// Maximum time without an answer of the broker during a read. The caller, which writes the view,
/// has other work too.
const SILENT: Duration = Duration::from_secs(5);
/// Number of reads in a row without an answer after which a batch without a visible fault counts as
/// unreadable.
const MAX_SILENT_READS: u32 = 4;
/// Timeout of the look at a batch that does not arrive.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of batches that are looked at. Marks of transactions are batches too.
const MAX_LOOKS: usize = 16;
/// Timeout of one poll for messages.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct KafkaLog {
    pub client: ClientConfig,
    pub context: Context,
    pub name: String,
    /// Maximum size of a message in bytes.
    pub limit: usize,
    /// Timeout of each step of a transaction.
    pub time_limit: Duration,
    pub reader: Option<Arc<BaseConsumer<Context>>>,
    /// Producer of the transactions. None if this server never took over, or after an error.
    pub writer: Option<FutureProducer<Context>>,
    /// Number of reads in a row without an answer from the same offset, and that offset.
    pub silent: (u32, i64),
}

/// A batch of the log that no client can read.
struct Unreadable {
    batch: RawBatch,
    fault: String,
    /// Number of messages of the log from this batch on.
    messages: u64,
}

impl KafkaLog {
    fn reader(&mut self) -> Result<Arc<BaseConsumer<Context>>, BusError> {
        if let Some(reader) = &self.reader {
            return Ok(Arc::clone(reader));
        }
        let consumer: BaseConsumer<Context> = self
            .client
            .clone()
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .create_with_context(self.context.clone())
            .map_err(|error| self.failed("be read", &error))?;
        Ok(Arc::clone(self.reader.insert(Arc::new(consumer))))
    }

    fn failed(&self, what: &str, error: &KafkaError) -> BusError {
        BusError::Unavailable(format!("{} cannot {what}: {error}", self.name))
    }

    /// Looks at the batches from an offset on, and returns the first one that no client can read.
    async fn find_unreadable(&mut self, from: i64) -> io::Result<Option<Unreadable>> {
        let reader = self.reader().map_err(io::Error::other)?;
        let name = self.name.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = reader.fetch_metadata(Some(&name), LOOK_TIMEOUT)?;
            let (_, end) = reader.fetch_watermarks(&name, 0, LOOK_TIMEOUT)?;
            Ok::<_, KafkaError>((metadata, end))
        });
        let (metadata, end) = asked.await?.map_err(io::Error::other)?;
        let (host, port) = raw_batch::leader_of(&metadata, 0)?;
        let mut next = from;
        for _ in 0..MAX_LOOKS {
            let Some(batch) = raw_batch::read((&host, port), &self.name, 0, next).await? else {
                return Ok(None);
            };
            let is_silent = self.silent.0 >= MAX_SILENT_READS && !batch.is_mark;
            let decompressed = || "it cannot be decompressed or read".to_owned();
            let fault = batch.fault.clone();
            if let Some(fault) = fault.or_else(|| is_silent.then(decompressed)) {
                let messages = u64::try_from(end.saturating_sub(next)).unwrap_or(0);
                return Ok(Some(Unreadable {
                    batch,
                    fault,
                    messages,
                }));
            }
            next = batch.last.saturating_add(1);
        }
        Ok(None)
    }

    /// Reports a batch that no client can read. It is never passed over: each event has the hash of
    /// the one before it, so a record without the events of this batch would not be the record.
    fn report(&self, from: i64, unreadable: &Unreadable) -> BusError {
        let Unreadable {
            batch,
            fault,
            messages,
        } = unreadable;
        let problem = format!(
            "has an unreadable batch of the offsets {from} to {} ({}): {fault}. The log is a chain, so the batch is not \
             passed over, and this server records nothing and does nothing until it has read it: restore the topic, or \
             start this server with a copy of a complete history.sqlite, and delete the records before offset {} \
             (kafka-delete-records.sh)",
            batch.last,
            batch.description,
            batch.last.saturating_add(1)
        );
        let error = BusError::Unavailable(format!("{} {problem}", self.name));
        self.context.health.report_log(Some(PartitionLag {
            topic: self.name.clone(),
            partition: 0,
            group: GROUP.to_owned(),
            messages: *messages,
            problem: Some(problem),
        }));
        error
    }

    async fn blocking<T: Send + 'static>(
        &self,
        writer: &FutureProducer<Context>,
        what: &str,
        step: impl FnOnce(&FutureProducer<Context>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BusError> {
        let writer = writer.clone();
        let done = tokio::task::spawn_blocking(move || step(&writer))
            .await
            .map_err(|_| BusError::Closed)?;
        done.map_err(|error| self.failed(what, &error))
    }

    async fn transaction(
        &self,
        writer: &FutureProducer<Context>,
        records: &[Record],
    ) -> Result<i64, BusError> {
        self.blocking(writer, "be written", FutureProducer::begin_transaction)
            .await?;
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            let mut message =
                FutureRecord::<str, [u8]>::to(&self.name).payload(&record.payload[..]);
            message.key = record.key.as_deref();
            message.headers = Some(headers(record));
            let delivery = writer
                .send_result(message)
                .map_err(|(error, _)| explain(Topic::Decisions, record.size(), &error))?;
            sent.push(async move {
                match delivery.await {
                    Ok(Ok(delivered)) => Ok(delivered.offset),
                    Ok(Err((error, _))) => Err(explain(Topic::Decisions, record.size(), &error)),
                    Err(_) => Err(BusError::Closed),
                }
            });
        }
        let offsets = try_join_all(sent).await?;
        let time_limit = self.time_limit;
        self.blocking(writer, "be written", move |writer| {
            let until = Instant::now() + time_limit;
            loop {
                match writer.commit_transaction(until.saturating_duration_since(Instant::now())) {
                    // Committing a transaction again is safe.
                    Err(KafkaError::Transaction(error))
                        if error.is_retriable() && Instant::now() < until => {}
                    result => return result,
                }
            }
        })
        .await?;
        Ok(offsets.last().map_or(0, |last| last + 1))
    }
}

#[async_trait]
impl LogOfRecord for KafkaLog {
    fn name(&self) -> &str {
        &self.name
    }

    async fn take_over(&mut self) -> Result<(), BusError> {
        self.writer = None;
        let writer: FutureProducer<Context> = self
            .client
            .clone()
            .set("transactional.id", format!("anomalyzer-{}", self.name))
            .set(
                "transaction.timeout.ms",
                self.time_limit.as_millis().max(1000).to_string(),
            )
            .set(
                "message.timeout.ms",
                self.time_limit.as_millis().max(1000).to_string(),
            )
            .set("linger.ms", "0")
            .create_with_context(self.context.clone())
            .map_err(|error| self.failed("be written", &error))?;
        let time_limit = self.time_limit;
        let begun = self
            .blocking(&writer, "be written in transactions", move |writer| {
                writer.init_transactions(time_limit)
            })
            .await;
        match begun {
            Ok(()) => self.writer = Some(writer),
            Err(BusError::Unavailable(why)) => {
                return Err(BusError::Unavailable(format!(
                    "{why}; transactions need the transactional id anomalyzer-{} to be allowed, and, where there is one broker, \
                     transaction.state.log.replication.factor=1 and transaction.state.log.min.isr=1",
                    self.name
                )));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn read(&mut self, from: i64, max: usize) -> Result<(Vec<Delivery>, bool), BusError> {
        let (reader, name, time_limit) = (
            self.reader()?,
            self.name.clone(),
            self.time_limit.min(SILENT),
        );
        let read = tokio::task::spawn_blocking(move || {
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition_offset(&name, 0, Offset::Offset(from))?;
            // A new assignment for each read makes librdkafka report the end of the partition each
            // time.
            reader.assign(&wanted)?;
            let (mut page, until) = (Vec::new(), Instant::now() + time_limit);
            while page.len() < max {
                match reader.poll(POLL) {
                    Some(Ok(message)) => page.push(delivery(Topic::Decisions, &message)),
                    Some(Err(KafkaError::PartitionEOF(_))) => return Ok((page, true)),
                    Some(Err(error)) => tracing::debug!(topic = name, %error, "retrying log read"),
                    // The next read begins at the message that does not arrive.
                    None if Instant::now() > until && !page.is_empty() => return Ok((page, false)),
                    None if Instant::now() > until => {
                        let silent = RDKafkaErrorCode::OperationTimedOut;
                        return Err(KafkaError::MessageConsumption(silent));
                    }
                    None => {}
                }
            }
            Ok((page, false))
        });
        let error = match read.await.map_err(|_| BusError::Closed)? {
            Ok((page, all)) => {
                if all || !page.is_empty() {
                    self.silent = (0, from);
                    self.context.health.report_log(None);
                }
                return Ok((page, all));
            }
            Err(error) => error,
        };
        let silent = if self.silent.1 == from {
            self.silent.0
        } else {
            0
        };
        self.silent = (silent + 1, from);
        match timeout(LOOK_TIMEOUT, self.find_unreadable(from)).await {
            Ok(Ok(Some(unreadable))) => Err(self.report(from, &unreadable)),
            _ => Err(self.failed("be read", &error)),
        }
    }

    async fn append(&mut self, records: Vec<Record>) -> Result<i64, BusError> {
        if let Some(size) = records
            .iter()
            .map(Record::size)
            .find(|size| *size > self.limit)
        {
            return Err(BusError::TooLarge {
                topic: Topic::Decisions,
                size,
                limit: self.limit,
            });
        }
        // The writer is taken out first. After an error or a dropped future the records may or may
        // not have been written, and only a new take-over can tell.
        let Some(writer) = self.writer.take() else {
            return Err(BusError::Fenced);
        };
        let next = match self.transaction(&writer, &records).await {
            Ok(next) => next,
            Err(error) => {
                // Messages fail with many different errors after another server took over, so the
                // fatal error of the client is checked instead.
                return Err(if writer.client().fatal_error().is_some() {
                    BusError::Fenced
                } else {
                    error
                });
            }
        };
        self.writer = Some(writer);
        Ok(next)
    }
}
