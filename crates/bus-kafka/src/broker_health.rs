//! Health of the Kafka broker: counts events and remembers problems.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use tokio::sync::Notify;

use super::read_progress::ReadProgress;
use anomalyzer_bus::PartitionLag;

/// State of the broker, shared by all clients of one bus.
pub(super) struct BrokerHealth {
    brokers: String,
    pub(super) full: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    /// Number of messages or batches that no client can read, and that were passed over.
    pub(super) passed_over: AtomicU64,
    fatal_error: Mutex<Option<String>>,
    silent: Mutex<Option<String>>,
    refused: Mutex<Option<String>>,
    last_error: Mutex<Option<String>>,
    /// Progress of the open consumers.
    reading: Mutex<Vec<Weak<ReadProgress>>>,
    /// Standstill of the log of record, if a batch of it can't be read.
    log: Mutex<Option<PartitionLag>>,
    /// Notified when a client reported an error, so that the broker is probed early.
    pub(super) ask: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}

impl BrokerHealth {
    /// Creates a state without problems.
    pub(super) fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            full: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            fatal_error: Mutex::default(),
            silent: Mutex::default(),
            refused: Mutex::default(),
            last_error: Mutex::default(),
            reading: Mutex::default(),
            log: Mutex::default(),
            ask: Notify::new(),
        }
    }

    /// Returns the current problem, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        [&self.fatal_error, &self.silent, &self.refused]
            .into_iter()
            .find_map(|problem| locked(problem).clone())
    }

    /// Returns the last error that a client reported.
    pub(super) fn last_error(&self) -> Option<String> {
        locked(&self.last_error).clone()
    }

    /// Returns the progress of a new consumer, which counts until it is dropped.
    pub(super) fn start_reading(&self, topic: &str, group: &str) -> Arc<ReadProgress> {
        let progress = Arc::new(ReadProgress::new(topic, group));
        let mut reading = locked(&self.reading);
        reading.retain(|progress| progress.strong_count() > 0);
        reading.push(Arc::downgrade(&progress));
        progress
    }

    /// Returns the lag of each partition that the open consumers read, and of the log of record if
    /// it stands still.
    pub(super) fn lags(&self) -> Vec<PartitionLag> {
        let reading = locked(&self.reading);
        let open = reading.iter().filter_map(Weak::upgrade);
        let lags = open.flat_map(|progress| progress.lags());
        lags.chain(locked(&self.log).clone()).collect()
    }

    /// Reports that the log of record stands still, or with `None` that it was read.
    pub(super) fn report_log(&self, standstill: Option<PartitionLag>) {
        let mut known = locked(&self.log);
        match (&standstill, &*known) {
            (Some(new), None) => {
                let (topic, problem) = (&new.topic, new.problem.as_deref());
                tracing::error!(topic, problem, "the log of record stands still");
            }
            (None, Some(_)) => tracing::info!("the log of record is read again"),
            _ => {}
        }
        *known = standstill;
    }

    pub(super) fn count_full(&self) {
        if self.full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("kafka queue is full; publishers wait");
        }
    }

    /// Reports that the broker refused a message whose publisher no longer waits.
    pub(super) fn report_refused(&self, error: &KafkaError) {
        let problem = format!("kafka refused a message: {error}");
        let mut known = locked(&self.refused);
        if known.as_ref() != Some(&problem) {
            tracing::error!(%error, "kafka refused a message; it is lost");
            *known = Some(problem);
        }
    }

    /// Reports a fatal error of the producer: its state no longer matches the broker's.
    pub(super) fn report_fatal_error(&self, reason: Option<String>) {
        let Some(reason) = reason else { return };
        let problem = format!("the producer has given up for good ({reason}): restart the service");
        let mut known = locked(&self.fatal_error);
        if known.is_none() {
            tracing::error!("{problem}");
            *known = Some(problem);
        }
    }

    /// Reports that the broker accepted a message.
    pub(super) fn report_taken(&self) {
        locked(&self.refused).take();
    }

    /// Reports the result of a probe.
    pub(super) fn report_answered(&self, answer: Result<(), KafkaError>) {
        let mut silent = locked(&self.silent);
        match answer {
            Ok(()) if silent.take().is_some() => tracing::info!("kafka answers again"),
            Ok(()) => {}
            Err(error) => {
                let reason = locked(&self.last_error)
                    .clone()
                    .unwrap_or_else(|| error.to_string());
                if silent.is_none() {
                    tracing::warn!(
                        brokers = self.brokers,
                        reason,
                        "kafka does not answer; messages are queued"
                    );
                }
                *silent = Some(format!(
                    "kafka at {} does not answer: {reason}",
                    self.brokers
                ));
            }
        }
    }
}

/// Context of every client. It forwards the client's log to `tracing` and its errors to the
/// [`BrokerHealth`].
#[derive(Clone)]
pub(super) struct Context {
    pub(super) health: Arc<BrokerHealth>,
    /// Progress of the client, if it is a consumer that is watched.
    progress: Option<Arc<ReadProgress>>,
}

impl Context {
    pub(super) fn new(health: Arc<BrokerHealth>) -> Self {
        Self {
            health,
            progress: None,
        }
    }

    /// Makes the context of a consumer that is watched.
    pub(super) fn reading(health: Arc<BrokerHealth>, progress: Arc<ReadProgress>) -> Self {
        Self {
            health,
            progress: Some(progress),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Important problems are reported once, by `BrokerHealth`. librdkafka repeats its messages
        // with every attempt.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, message, "librdkafka");
            }
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if let Some(progress) = &self.progress {
            progress.update(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
        // The message "1/1 brokers are down" follows the real reason and would replace it.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *locked(&self.health.last_error) = Some(reason.to_owned());
        }
        if let Some(progress) = &self.progress
            && reason.contains("receive.message.max.bytes")
        {
            progress.note_too_large();
        }
        self.health.ask.notify_one();
    }
}

impl ConsumerContext for Context {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => tracing::info!(?partitions, "partitions assigned"),
            Rebalance::Revoke(partitions) => tracing::info!(?partitions, "partitions revoked"),
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}
