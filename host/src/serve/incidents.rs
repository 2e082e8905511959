//! The acting half's view of incidents: each event goes into the history and into what the guard looks at.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::act::OpenIncidents;
use crate::bus::{Bus, BusError, Topic};
use crate::codec;
use crate::history::History;

/// Runs until told to stop. An event is committed when it is in the history.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    history: History,
    incidents: OpenIncidents,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut subscription = bus.subscribe(Topic::Incidents, "anomalyzer-history").await?;
    loop {
        let deliveries = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            deliveries = subscription.next(64, Duration::from_millis(500)) => deliveries?,
        };
        for delivery in deliveries {
            match codec::incidents::decode(&delivery) {
                Ok(event) => {
                    incidents.take(&event);
                    while let Err(error) = history.record_incident(&event).await {
                        tracing::error!(incident.id = %event.incident.id, %error, "an incident cannot be recorded; trying again");
                        tokio::select! {
                            () = shutdown.cancelled() => return Ok(()),
                            () = tokio::time::sleep(Duration::from_secs(2)) => {}
                        }
                    }
                }
                Err(error) => subscription.dead_letter(&delivery, &error.to_string()).await?,
            }
            subscription.commit(&delivery).await?;
        }
    }
}
