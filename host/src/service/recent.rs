//! Keeps the newest samples at hand for guard and verification: follows `metrics-topic` from now
//! on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::codec::{self, Believed};
use crate::common::clock::now_ms;
use crate::domain::Topic;
use crate::verify::Recent;

/// Runs until told to stop.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    recent: Recent,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut subscription = bus.tail(Topic::Metrics).await?;
    loop {
        let deliveries = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            deliveries = subscription.next(256, Duration::from_millis(500)) => deliveries?,
        };
        // What can't be read is set aside by the consumer whose group it is.
        let believed = Believed::at(now_ms());
        for batch in deliveries
            .iter()
            .filter_map(|delivery| codec::metrics::decode(delivery, believed).ok())
        {
            recent.take(&batch);
        }
    }
}
