//! Bus on Kafka. Only this folder names rdkafka.
//!
//! Messages for `metrics-topic` go into a bounded queue in memory and are written in the
//! background. After a crash the sources are queried again. Publishing on the other topics returns
//! when all replicas have the message. While the broker is unavailable, both kinds of messages
//! wait, up to the bound of the queue and the timeout. Queued messages are sent when the broker is
//! back. Call [`Bus::drain`] before the process ends.

mod broker_health;
mod broker_probe;
mod config;
mod log;
mod producer;
mod raw_batch;
mod read_progress;
mod subscription;
mod topics;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use broker_health::{BrokerHealth, Context};
pub use config::{KafkaConfig, TopicNames, WhenAbsent};
use log::KafkaLog;
use producer::RecordProducer;
use read_progress::ReadProgress;
use subscription::{KafkaSubscription, Shared};
use topics::Topics;

use anomalyzer_bus::{
    Bus, BusError, BusHealth, LogOfRecord, Replay, Subscription, dead_letter_name,
};
use anomalyzer_domain::{Delivery, Record, Topic};

/// Timeout of one request to a broker that may be unavailable.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bus on Kafka.
pub struct KafkaBus {
    config: KafkaConfig,
    client: ClientConfig,
    outbox: Arc<RecordProducer>,
    watch: Arc<BrokerHealth>,
    /// Maximum size of a message, per topic.
    limits: HashMap<Topic, usize>,
    /// Consumers that are leaving their groups.
    closing: TaskTracker,
    _asking: DropGuard,
}

fn unavailable(what: &str) -> impl Fn(KafkaError) -> BusError + '_ {
    move |error| BusError::Unavailable(format!("{what}: {error}"))
}

impl KafkaBus {
    /// Finds a broker, creates missing topics, and starts to monitor the broker.
    ///
    /// If no broker answers within `connect_timeout`, returns an error. With [`WhenAbsent::Wait`],
    /// logs a warning instead and tries again until a broker answers or the future is dropped. A
    /// broker that answers with a refusal is an error in both cases.
    pub async fn connect(config: KafkaConfig) -> Result<Self, BusError> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &config.brokers)
            .set("client.id", "anomalyzer")
            .set(
                "message.max.bytes",
                topics::max_request_bytes(&config).to_string(),
            )
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        let watch = Arc::new(BrokerHealth::new(&config.brokers));
        let outbox = RecordProducer::new(&client, &config, Arc::clone(&watch)).map_err(
            unavailable(&format!("`{}` can't be used as brokers", config.brokers)),
        )?;
        let outbox = Arc::new(outbox);
        find_broker(&config, &outbox, &watch).await?;
        let limits = Topics::new(&client, config.connect_timeout)?
            .ensure(&config)
            .await?;
        let stop = CancellationToken::new();
        tokio::spawn(broker_probe::ask_now_and_then(
            Arc::clone(&watch),
            Arc::downgrade(&outbox),
            config.topics.decisions.clone(),
            stop.clone(),
        ));
        Ok(Self {
            config,
            client,
            outbox,
            watch,
            limits,
            closing: TaskTracker::new(),
            _asking: stop.drop_guard(),
        })
    }

    /// Returns the newest dead letters of a topic, oldest first.
    pub async fn dead_letters(
        &self,
        topic: Topic,
        newest: usize,
    ) -> Result<Vec<Delivery>, BusError> {
        let name = dead_letter_name(self.config.topics.of(topic));
        let (consumer, progress) = self
            .consumer(&name, "anomalyzer-dead-letters")
            .map_err(unavailable("cannot read dead letters"))?;
        let consumer = Arc::new(consumer);
        let ends = self.ends(&consumer, &name).await?;
        let mut wanted = TopicPartitionList::new();
        let mut from = HashMap::new();
        for (partition, low, high) in ends {
            let start = low.max(high - i64::try_from(newest).unwrap_or(i64::MAX));
            if start < high {
                from.insert(partition, high);
                wanted
                    .add_partition_offset(&name, partition, Offset::Offset(start))
                    .map_err(unavailable("cannot read dead letters"))?;
            }
        }
        consumer
            .assign(&wanted)
            .map_err(unavailable("cannot read dead letters"))?;
        let consumer = Arc::into_inner(consumer).ok_or(BusError::Closed)?;
        let mut subscription =
            KafkaSubscription::new((consumer, progress), topic, name, false, self.shared());
        let deadline = Instant::now() + self.config.publish_timeout;
        let mut letters = Vec::new();
        while !from.is_empty() && Instant::now() < deadline {
            for letter in subscription.next(newest, ASK_TIMEOUT).await? {
                if from
                    .get(&letter.partition)
                    .is_some_and(|end| letter.offset + 1 >= *end)
                {
                    from.remove(&letter.partition);
                }
                letters.push(letter);
            }
        }
        letters.drain(..letters.len().saturating_sub(newest));
        Ok(letters)
    }

    /// Creates a consumer without a subscription or an assignment.
    fn consumer(
        &self,
        name: &str,
        group: &str,
    ) -> KafkaResult<(StreamConsumer<Context>, Arc<ReadProgress>)> {
        let progress = self.watch.start_reading(name, group);
        let context = Context::reading(Arc::clone(&self.watch), Arc::clone(&progress));
        let consumer = self
            .client
            .clone()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                self.config.session_timeout.as_millis().to_string(),
            )
            .set(
                "heartbeat.interval.ms",
                (self.config.session_timeout.as_millis() / 4)
                    .max(1)
                    .to_string(),
            )
            // The default of 1000 ms pauses fetching for a second each time the local queue is
            // full.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "32768")
            .set(
                "receive.message.max.bytes",
                raw_batch::MAX_ANSWER_BYTES.to_string(),
            )
            .set(
                "statistics.interval.ms",
                read_progress::STATISTICS_INTERVAL_MS.to_string(),
            )
            .create_with_context(context)?;
        Ok((consumer, progress))
    }

    /// Returns an error if the topic does not take a message of this size.
    fn check_size(&self, topic: Topic, record: &Record) -> Result<(), BusError> {
        let (size, limit) = (record.size(), self.limits[&topic]);
        match size > limit {
            true => Err(BusError::TooLarge { topic, size, limit }),
            false => Ok(()),
        }
    }

    async fn send(&self, topic: Topic, record: &Record, confirmed: bool) -> Result<(), BusError> {
        self.check_size(topic, record)?;
        self.outbox
            .send(topic, self.config.topics.of(topic), record, confirmed)
            .await
    }

    fn shared(&self) -> Shared {
        Shared {
            outbox: Arc::clone(&self.outbox),
            watch: Arc::clone(&self.watch),
            commit_timeout: self.config.publish_timeout,
            max_message_bytes: self.config.max_message_bytes,
            closing: self.closing.clone(),
        }
    }

    /// Returns for each partition its first offset and its next offset.
    async fn ends(
        &self,
        consumer: &Arc<StreamConsumer<Context>>,
        name: &str,
    ) -> Result<Vec<(i32, i64, i64)>, BusError> {
        let (consumer, topic, time_limit) = (
            Arc::clone(consumer),
            name.to_owned(),
            self.config.connect_timeout,
        );
        let asked = tokio::task::spawn_blocking(move || -> KafkaResult<_> {
            let ask = || -> KafkaResult<Vec<(i32, i64, i64)>> {
                let metadata = consumer.fetch_metadata(Some(&topic), time_limit)?;
                let partitions = metadata
                    .topics()
                    .iter()
                    .flat_map(|topic| topic.partitions())
                    .map(|p| p.id());
                partitions
                    .map(|partition| {
                        let (low, high) =
                            consumer.fetch_watermarks(&topic, partition, time_limit)?;
                        Ok((partition, low, high))
                    })
                    .collect()
            };
            // A topic that was just created has no leader yet.
            let deadline = std::time::Instant::now() + time_limit;
            loop {
                match ask() {
                    Err(_) if std::time::Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                    answer => return answer,
                }
            }
        });
        asked
            .await
            .map_err(|_| BusError::Closed)?
            .map_err(unavailable(&format!("cannot read {name}")))
    }
}

/// Waits until a broker answers.
async fn find_broker(
    config: &KafkaConfig,
    outbox: &Arc<RecordProducer>,
    watch: &BrokerHealth,
) -> Result<(), BusError> {
    loop {
        let deadline = Instant::now() + config.connect_timeout;
        while Instant::now() < deadline {
            let outbox = Arc::clone(outbox);
            let time_limit = ASK_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
            let answer = tokio::task::spawn_blocking(move || outbox.ask(None, time_limit)).await;
            if matches!(answer, Ok(Ok(()))) {
                return Ok(());
            }
        }
        let reason = watch.last_error().unwrap_or_else(|| "no answer".to_owned());
        let problem = format!(
            "no kafka answers at {} within {} s ({reason}): start it, correct the brokers (KAFKA_BROKERS), or configure none \
             to use the bus inside the process",
            config.brokers,
            config.connect_timeout.as_secs_f32()
        );
        match config.when_absent {
            WhenAbsent::Fail => return Err(BusError::Unavailable(problem)),
            WhenAbsent::Wait => tracing::warn!("{problem}; retrying"),
        }
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.send(topic, &record, topic != Topic::Metrics).await
    }

    async fn publish_confirmed(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.send(topic, &record, true).await
    }

    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        for record in records {
            self.check_size(topic, record)?;
        }
        let name = self.config.topics.of(topic);
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            sent.push(self.outbox.queue(topic, name, record, true).await?);
        }
        for sent in sent {
            sent.confirmed().await?;
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let name = self.config.topics.of(topic).to_owned();
        let what = format!("cannot read {name}");
        let (consumer, progress) = self.consumer(&name, group).map_err(unavailable(&what))?;
        consumer.subscribe(&[&name]).map_err(unavailable(&what))?;
        Ok(Box::new(KafkaSubscription::new(
            (consumer, progress),
            topic,
            name,
            true,
            self.shared(),
        )))
    }

    async fn tail(&self, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        let name = self.config.topics.of(topic).to_owned();
        let what = format!("cannot follow {name}");
        // The broker does not know a group that never joins and never commits.
        let (consumer, progress) = self
            .consumer(&name, "anomalyzer-tail")
            .map_err(unavailable(&what))?;
        let consumer = Arc::new(consumer);
        let mut wanted = TopicPartitionList::new();
        for (partition, _, high) in self.ends(&consumer, &name).await? {
            wanted
                .add_partition_offset(&name, partition, Offset::Offset(high))
                .map_err(unavailable(&what))?;
        }
        consumer.assign(&wanted).map_err(unavailable(&what))?;
        let consumer = Arc::into_inner(consumer).ok_or(BusError::Closed)?;
        Ok(Box::new(KafkaSubscription::new(
            (consumer, progress),
            topic,
            name,
            false,
            self.shared(),
        )))
    }

    async fn replay(&self, topic: Topic) -> Result<Replay, BusError> {
        let name = self.config.topics.of(topic).to_owned();
        let what = format!("cannot replay {name}");
        let (consumer, progress) = self
            .consumer(&name, "anomalyzer-replay")
            .map_err(unavailable(&what))?;
        let consumer = Arc::new(consumer);
        let mut wanted = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for (partition, low, high) in self.ends(&consumer, &name).await? {
            wanted
                .add_partition_offset(&name, partition, Offset::Offset(low))
                .map_err(unavailable(&what))?;
            if low < high {
                ends.insert(partition, high);
            }
        }
        consumer.assign(&wanted).map_err(unavailable(&what))?;
        let consumer = Arc::into_inner(consumer).ok_or(BusError::Closed)?;
        let subscription = Box::new(KafkaSubscription::new(
            (consumer, progress),
            topic,
            name,
            false,
            self.shared(),
        ));
        Ok(Replay { subscription, ends })
    }

    fn is_partitioned(&self) -> bool {
        true
    }

    fn log_of_record(&self) -> Option<Box<dyn LogOfRecord>> {
        Some(Box::new(KafkaLog {
            client: self.client.clone(),
            context: Context::new(Arc::clone(&self.watch)),
            name: self.config.topics.decisions.clone(),
            limit: self.limits[&Topic::Decisions],
            time_limit: self.config.publish_timeout,
            reader: None,
            writer: None,
            silent: (0, 0),
        }))
    }

    fn health(&self) -> BusHealth {
        BusHealth {
            kind: "kafka",
            problem: self.watch.problem(),
            waiting: self.outbox.waiting(),
            capacity: self.outbox.capacity(),
            full: self.watch.full.load(Ordering::Relaxed),
            dead_letters: self.watch.dead_letters.load(Ordering::Relaxed),
            unreadable: self.watch.passed_over.load(Ordering::Relaxed),
            lags: self.watch.lags(),
        }
    }

    async fn drain(&self, time_limit: Duration) -> Result<(), BusError> {
        let deadline = Instant::now() + time_limit;
        self.outbox.drain(time_limit).await?;
        // A consumer that leaves its group in order is not waited for by the others, so the next
        // start gets the partitions at once.
        let left = async {
            while !self.closing.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout_at(deadline, left).await;
        Ok(())
    }
}
