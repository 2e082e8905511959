//! State that the local bus shares with its subscriptions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::config::LocalBusConfig;
use super::counters::Counters;
use super::memory::MemoryLog;
use super::store::Change;
use super::writer::Write;
use anomalyzer_bus::BusError;
use anomalyzer_domain::Topic;

/// Returns true if the local bus keeps the messages of a topic across a restart.
pub(super) fn is_durable(topic: Topic) -> bool {
    topic != Topic::Metrics
}

/// State shared by the bus and its subscriptions.
pub(super) struct Shared {
    pub(super) config: LocalBusConfig,
    pub(super) readers: SqlitePool,
    pub(super) writer: mpsc::Sender<Write>,
    pub(super) written: watch::Sender<u64>,
    pub(super) metrics: MemoryLog,
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    /// Sends a change to the writer and waits until it is on disk.
    pub(super) async fn write(&self, topic: Topic, change: Change) -> Result<i64, BusError> {
        let (done, written) = oneshot::channel();
        let time_limit = self.config.publish_timeout;
        match self.writer.try_send(Write { change, done }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(BusError::Closed),
            Err(mpsc::error::TrySendError::Full(write)) => {
                self.count_full(topic);
                let sent = timeout(time_limit, self.writer.send(write))
                    .await
                    .map_err(|_| BusError::Full(topic))?;
                sent.map_err(|_| BusError::Closed)?;
            }
        }
        match timeout(time_limit, written).await {
            Ok(answer) => answer.map_err(|_| BusError::Closed)?,
            Err(_) => Err(BusError::Store(format!(
                "the disk took more than {} s",
                time_limit.as_secs_f32()
            ))),
        }
    }

    pub(super) fn count_full(&self, topic: Topic) {
        if self.counters.full.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                ?topic,
                "the queue of the local bus is full; publishers wait"
            );
        }
    }

    /// Registers a group and returns its position.
    pub(super) async fn join(&self, topic: Topic, group: &str) -> Result<i64, BusError> {
        if is_durable(topic) {
            self.write(
                topic,
                Change::Join {
                    topic,
                    group: group.to_owned(),
                },
            )
            .await
        } else {
            Ok(self.metrics.join(group))
        }
    }
}
