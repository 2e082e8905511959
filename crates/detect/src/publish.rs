//! Publishes incident events and sets messages aside.

use std::time::Duration;

use anomalyzer_bus::{Bus, BusError, Subscription};
use anomalyzer_domain::{Delivery, IncidentEvent, Topic};

/// Number of attempts to publish an event before the engine gives up and is restarted.
const MAX_ATTEMPTS: u32 = 60;
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Publishes an event. Leaves out details if the event is too large.
///
/// # Errors
/// The bus is closed, or unavailable for [`MAX_ATTEMPTS`].
#[tracing::instrument(name = "publish", skip_all, fields(incident.id = %event.incident.id))]
pub(super) async fn publish_event(bus: &dyn Bus, event: &IncidentEvent) -> Result<(), BusError> {
    let mut record = anomalyzer_wire::incidents::encode(event);
    let mut attempt = 0;
    loop {
        match bus.publish(Topic::Incidents, record.clone()).await {
            Ok(()) => {
                let incident = &event.incident;
                let findings = incident.findings.len();
                tracing::info!(target = %incident.target, kind = ?event.kind, findings, "incident");
                return Ok(());
            }
            Err(BusError::TooLarge { size, limit, .. }) => {
                let Some(smaller) = anomalyzer_wire::incidents::encode_within(event, limit) else {
                    // An error would repeat for ever and hold up all other events.
                    tracing::error!(
                        limit,
                        "dropping an incident event that is too large to publish"
                    );
                    return Ok(());
                };
                tracing::warn!(
                    size,
                    limit,
                    "leaving out details of an incident that is too large"
                );
                record = smaller;
            }
            Err(error) if attempt < MAX_ATTEMPTS && !matches!(error, BusError::Closed) => {
                attempt += 1;
                tracing::warn!(%error, attempt, "cannot publish an incident event; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sets a message aside as a dead letter. An error must end the batch without a commit, so that the
/// message is delivered again.
pub(super) async fn set_aside(
    subscription: &mut dyn Subscription,
    delivery: &Delivery,
    reason: &str,
) -> Result<(), BusError> {
    let (partition, offset) = (delivery.partition, delivery.offset);
    tracing::warn!(partition, offset, reason, "setting a message aside");
    subscription.dead_letter(delivery, reason).await
}
