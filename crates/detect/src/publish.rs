//! Publishes incident events and sets messages aside.
//!
//! The events of one pass are published together: in a storm, 10,000 events must not wait for
//! 10,000 durable writes.

use std::time::Duration;

use anomalyzer_bus::{Bus, BusError, Subscription};
use anomalyzer_domain::{Delivery, IncidentEvent, Record, Topic};

/// Number of attempts to publish an event before the engine gives up and is restarted.
const MAX_ATTEMPTS: u32 = 60;
/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Publishes events in their order, in one durable write if the bus can. Events that are too large
/// for that are published one by one.
///
/// # Errors
/// The bus is closed, or unavailable for [`MAX_ATTEMPTS`]. Part of the events may be published.
#[tracing::instrument(name = "publish", skip_all, fields(events = events.len()))]
pub(super) async fn publish_events(
    bus: &dyn Bus,
    events: &[IncidentEvent],
) -> Result<(), BusError> {
    let records: Vec<Record> = events
        .iter()
        .map(anomalyzer_wire::incidents::encode)
        .collect();
    let mut attempt = 0;
    loop {
        match bus.publish_all(Topic::Incidents, &records).await {
            Ok(()) => {
                events.iter().for_each(log_published);
                return Ok(());
            }
            Err(BusError::TooLarge { .. }) => {
                for event in events {
                    publish_event(bus, event).await?;
                }
                return Ok(());
            }
            Err(error) => pause_or_fail(error, &mut attempt).await?,
        }
    }
}

/// Waits before the next attempt to publish.
///
/// # Errors
/// The error, if it is permanent or came too often.
async fn pause_or_fail(error: BusError, attempt: &mut u32) -> Result<(), BusError> {
    if *attempt >= MAX_ATTEMPTS || matches!(error, BusError::Closed) {
        return Err(error);
    }
    *attempt += 1;
    tracing::warn!(%error, attempt, "cannot publish incident events; retrying");
    tokio::time::sleep(RETRY_PAUSE).await;
    Ok(())
}

fn log_published(event: &IncidentEvent) {
    let incident = &event.incident;
    let findings = incident.findings.len();
    tracing::info!(
        incident.id = %incident.id, target = %incident.target, kind = ?event.kind, findings,
        "incident"
    );
}

/// Publishes an event. Leaves out details if the event is too large.
///
/// # Errors
/// The bus is closed, or unavailable for [`MAX_ATTEMPTS`].
async fn publish_event(bus: &dyn Bus, event: &IncidentEvent) -> Result<(), BusError> {
    let mut record = anomalyzer_wire::incidents::encode(event);
    let mut attempt = 0;
    loop {
        match bus.publish(Topic::Incidents, record.clone()).await {
            Ok(()) => {
                log_published(event);
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
            Err(error) => pause_or_fail(error, &mut attempt).await?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
    use anomalyzer_domain::{Incident, IncidentEventKind, Labels, Series, Target, testing};

    /// Makes the event of an incident whose samples have a label of `size` bytes.
    fn event(number: usize, size: usize) -> IncidentEvent {
        let number = number.to_string();
        let incident = Incident {
            target: Target::new("", "Process", &number),
            samples: vec![Series {
                labels: Labels::new([("x", "y".repeat(size).as_str())]),
                samples: vec![],
            }],
            ..testing::incident(&number, vec![])
        };
        IncidentEvent::new(IncidentEventKind::Opened, 1, incident)
    }

    /// Publishes events, and returns the numbers of the incidents on the topic.
    async fn published(events: &[IncidentEvent]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = LocalBusConfig {
            max_message_bytes: 10_000,
            ..LocalBusConfig::default()
        };
        let path = folder.path().join("bus.sqlite");
        let bus = LocalBus::open(&path, config).await.unwrap();
        publish_events(&bus, events).await.unwrap();
        let mut reader = bus.subscribe(Topic::Incidents, "test").await.unwrap();
        let wait = Duration::from_secs(9);
        let read = reader.next(events.len(), wait).await.unwrap();
        let decoded = read.iter().map(anomalyzer_wire::incidents::decode);
        decoded
            .map(|event| event.unwrap().incident.id.to_string())
            .collect()
    }

    #[tokio::test]
    async fn events_keep_their_order_and_a_large_one_loses_only_its_details() {
        let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        for large in [None, Some(20)] {
            let size = |number| if Some(number) == large { 20_000 } else { 1 };
            let events: Vec<_> = (0..50).map(|number| event(number, size(number))).collect();
            assert_eq!(published(&events).await, numbers, "large: {large:?}");
        }
    }
}
