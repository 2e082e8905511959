//! Keeps the newest samples for guard and verification, from the tail of `metrics-topic`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{Batch, Bus, BusError, Handler, OnReadError, Subscription, consume};
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Delivery, Topic};
use anomalyzer_verification::RecentSamples;
use anomalyzer_wire::AcceptedTime;

/// Bounds of one read.
const BATCH: Batch = Batch {
    topic: Topic::Metrics,
    max: 256,
    wait: Duration::from_millis(500),
    on_error: OnReadError::Return,
};

/// Runs until `shutdown`.
///
/// # Errors
/// A failure of the bus.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    recent: RecentSamples,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut subscription = bus.tail(Topic::Metrics).await?;
    let mut keeper = SampleKeeper(recent);
    consume(subscription.as_mut(), BATCH, &shutdown, &mut keeper).await?;
    Ok(())
}

/// Keeps the samples of each batch.
struct SampleKeeper(RecentSamples);

impl Handler for SampleKeeper {
    type Error = BusError;

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        _: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        let believed = AcceptedTime::at(now_ms());
        for delivery in &deliveries {
            // The consumers with a group set unreadable messages aside.
            if let Ok(batch) = anomalyzer_wire::metrics::decode(delivery, believed) {
                self.0.take(&batch);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
