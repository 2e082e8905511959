//! A bus on top of another bus.

use std::time::Duration;

use async_trait::async_trait;

use super::contract::{Bus, BusHealth, LogOfRecord, Replay, Subscription};
use super::error::BusError;
use anomalyzer_domain::{Record, Topic};

/// A bus that changes some calls of another bus, and passes on the other calls.
///
/// A type that implements this trait is a [`Bus`]. Each method has the contract of the method of
/// [`Bus`] with its name.
#[async_trait]
pub trait BusLayer: Send + Sync {
    /// Returns the bus below.
    fn below(&self) -> &dyn Bus;

    /// See [`Bus::publish`].
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.below().publish(topic, record).await
    }

    /// See [`Bus::publish_all`].
    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        self.below().publish_all(topic, records).await
    }

    /// See [`Bus::subscribe`].
    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> Result<Box<dyn Subscription>, BusError> {
        self.below().subscribe(topic, group).await
    }
}

#[async_trait]
impl<L: BusLayer> Bus for L {
    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        BusLayer::publish(self, topic, record).await
    }

    async fn publish_confirmed(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.below().publish_confirmed(topic, record).await
    }

    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        BusLayer::publish_all(self, topic, records).await
    }

    async fn subscribe(
        &self,
        topic: Topic,
        group: &str,
    ) -> Result<Box<dyn Subscription>, BusError> {
        BusLayer::subscribe(self, topic, group).await
    }

    async fn tail(&self, topic: Topic) -> Result<Box<dyn Subscription>, BusError> {
        self.below().tail(topic).await
    }

    async fn replay(&self, topic: Topic) -> Result<Replay, BusError> {
        self.below().replay(topic).await
    }

    fn is_partitioned(&self) -> bool {
        self.below().is_partitioned()
    }

    fn log_of_record(&self) -> Option<Box<dyn LogOfRecord>> {
        self.below().log_of_record()
    }

    fn health(&self) -> BusHealth {
        self.below().health()
    }

    async fn drain(&self, timeout: Duration) -> Result<(), BusError> {
        self.below().drain(timeout).await
    }
}
