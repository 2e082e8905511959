//! Publishes collected metrics on the bus.

use std::sync::Arc;

use async_trait::async_trait;

use crate::bus::{Bus, BusError};
use crate::codec;
use crate::collect::{Sink, SinkError};
use crate::domain::{MetricBatch, Topic};

/// A sink of the collector that publishes on `metrics-topic`.
pub(super) struct BusSink {
    bus: Arc<dyn Bus>,
}

impl BusSink {
    pub(super) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus }
    }
}

#[async_trait]
impl Sink for BusSink {
    async fn send(&self, batch: MetricBatch) -> Result<(), SinkError> {
        self.bus
            .publish(Topic::Metrics, codec::metrics::encode(&batch))
            .await
            .map_err(|error| match error {
                BusError::TooLarge { .. } | BusError::Closed => {
                    SinkError::Refused(error.to_string())
                }
                _ => SinkError::Busy(error.to_string()),
            })
    }
}
