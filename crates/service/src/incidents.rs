//! The acting half's view of incidents: each event goes into the history and into what the guard
//! looks at.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{Bus, BusError};
use anomalyzer_domain::Topic;
use anomalyzer_history::History;
use anomalyzer_remediate::OpenIncidents;

/// The group of a history: servers that stand by have histories of their own, and each is to hold
/// all.
///
/// # Errors
/// The data folder can't be read or written.
pub(super) fn group(bus: &dyn Bus, data_dir: &Path) -> io::Result<String> {
    const GROUP: &str = "anomalyzer-history";
    if bus.log_of_record().is_none() {
        return Ok(GROUP.to_owned());
    }
    let path = data_dir.join("history.id");
    match std::fs::read_to_string(&path) {
        Ok(id) => return Ok(format!("{GROUP}-{}", id.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = format!("{:032x}", fastrand::u128(..));
    std::fs::write(&path, &id)?;
    Ok(format!("{GROUP}-{id}"))
}

/// Runs until told to stop. An event is committed when it is in the history.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    group: String,
    history: History,
    incidents: OpenIncidents,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut subscription = bus.subscribe(Topic::Incidents, &group).await?;
    loop {
        let deliveries = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            deliveries = subscription.next(64, Duration::from_millis(500)) => deliveries?,
        };
        for delivery in deliveries {
            match anomalyzer_wire::incidents::decode(&delivery) {
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
                Err(error) => {
                    subscription
                        .dead_letter(&delivery, &error.to_string())
                        .await?
                }
            }
            subscription.commit(&delivery).await?;
        }
    }
}
