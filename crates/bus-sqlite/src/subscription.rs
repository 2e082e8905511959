//! Consumer of the local bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::shared::{Shared, is_durable};
use super::store::{self, Change};
use anomalyzer_bus::{BusError, Subscription, dead_letter_name, dead_letter_of};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Delivery, Topic};

/// Kind of a reader.
pub(super) enum Reader {
    /// Member of a group. The first member reads and the others stand by, as on a topic with one
    /// partition.
    Member {
        group: String,
        gate: Arc<Semaphore>,
        turn: Option<OwnedSemaphorePermit>,
    },
    /// Follower without a group.
    Follower,
}

pub(super) struct LocalSubscription {
    shared: Arc<Shared>,
    topic: Topic,
    reader: Reader,
    position: i64,
    /// Receiver that changes with every write to the durable topics.
    written: watch::Receiver<u64>,
    /// Receiver that changes with every metrics message.
    metrics: watch::Receiver<i64>,
}

impl LocalSubscription {
    pub(super) fn new(shared: Arc<Shared>, topic: Topic, reader: Reader, position: i64) -> Self {
        let (written, metrics) = (shared.written.subscribe(), shared.metrics.head());
        Self {
            shared,
            topic,
            reader,
            position,
            written,
            metrics,
        }
    }

    /// Waits until this member is the active one, and continues at the committed offset of the
    /// group. Returns false if the deadline passes first.
    async fn take_turn(&mut self, deadline: Instant) -> Result<bool, BusError> {
        let Reader::Member {
            group,
            gate,
            turn: turn @ None,
        } = &mut self.reader
        else {
            return Ok(true);
        };
        let Ok(permit) = timeout_at(deadline, Arc::clone(gate).acquire_owned()).await else {
            return Ok(false);
        };
        let permit = permit.map_err(|_| BusError::Closed)?;
        let position = self.shared.join(self.topic, group).await?;
        (*turn, self.position) = (Some(permit), position);
        Ok(true)
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Delivery>, BusError> {
        let deliveries = if is_durable(self.topic) {
            self.written.borrow_and_update();
            store::read(
                &self.shared.readers,
                self.topic,
                self.topic.default_name(),
                self.position,
                max,
            )
            .await?
        } else {
            self.metrics.borrow_and_update();
            let deliveries = self.shared.metrics.read(self.position, max);
            if let Some(first) = deliveries
                .first()
                .filter(|first| first.offset > self.position)
            {
                tracing::warn!(
                    missed = first.offset - self.position,
                    "a metrics subscription fell behind and missed messages"
                );
            }
            deliveries
        };
        if let Some(last) = deliveries.last() {
            self.position = last.offset + 1;
        }
        Ok(deliveries)
    }
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + wait;
        if !self.take_turn(deadline).await? {
            return Ok(Vec::new());
        }
        loop {
            let deliveries = self.read(max).await?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            let changed = async {
                if is_durable(self.topic) {
                    self.written.changed().await
                } else {
                    self.metrics.changed().await
                }
            };
            match timeout_at(deadline, changed).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(BusError::Closed),
                Err(_) => return Ok(Vec::new()),
            }
        }
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<(), BusError> {
        let Reader::Member { group, .. } = &self.reader else {
            return Ok(());
        };
        let next = delivery.offset + 1;
        if is_durable(self.topic) {
            let change = Change::Commit {
                topic: self.topic,
                group: group.clone(),
                next,
            };
            self.shared.write(self.topic, change).await?;
        } else {
            self.shared.metrics.commit(group, next);
        }
        Ok(())
    }

    async fn dead_letter(&mut self, delivery: &Delivery, reason: &str) -> Result<(), BusError> {
        let name = self.topic.default_name();
        let record = dead_letter_of(delivery, name, reason);
        let change = Change::Append {
            topic: dead_letter_name(name),
            at: now_ms(),
            records: vec![record],
        };
        self.shared.write(self.topic, change).await?;
        self.shared.counters.add_dead_letter();
        Ok(())
    }
}
