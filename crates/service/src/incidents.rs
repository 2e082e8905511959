//! The view of incidents in the acting half: each event goes into the history, and into the
//! incidents that the guard consults.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{Batch, Bus, BusError, Handler, OnReadError, Subscription, consume};
use anomalyzer_common::data_folder::private_file;
use anomalyzer_domain::{Delivery, IncidentEvent, Topic};
use anomalyzer_history::History;
use anomalyzer_remediate::OpenIncidents;

/// Bounds of one read.
const BATCH: Batch = Batch {
    topic: Topic::Incidents,
    max: 64,
    wait: Duration::from_millis(500),
    on_error: OnReadError::Return,
};
/// Pause between two attempts to record an event.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Returns the consumer group of this server's history. Every standby server has a history of its
/// own that must hold all events, so that each one needs a group of its own.
///
/// # Errors
/// The data folder cannot be read or written.
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
    private_file(&path)?.write_all(id.as_bytes())?;
    Ok(format!("{GROUP}-{id}"))
}

/// Runs until `shutdown`. An event is committed when it is in the history.
///
/// # Errors
/// A failure of the bus.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    group: String,
    history: History,
    incidents: OpenIncidents,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    let mut subscription = bus.subscribe(Topic::Incidents, &group).await?;
    let mut recorder = IncidentRecorder {
        history,
        incidents,
        shutdown: shutdown.clone(),
    };
    consume(subscription.as_mut(), BATCH, &shutdown, &mut recorder).await?;
    Ok(())
}

/// Records the events of incidents.
struct IncidentRecorder {
    history: History,
    incidents: OpenIncidents,
    shutdown: CancellationToken,
}

impl IncidentRecorder {
    /// Records an event, and retries until the history accepts it. Returns `Break` if the shutdown
    /// comes first: then the event must not be committed.
    #[tracing::instrument(skip_all, fields(incident.id = %event.incident.id))]
    async fn record(&self, event: &IncidentEvent) -> ControlFlow<()> {
        self.incidents.take(event);
        while let Err(error) = self.history.record_incident(event).await {
            tracing::error!(%error, "cannot record an incident event; retrying");
            tokio::select! {
                () = self.shutdown.cancelled() => return ControlFlow::Break(()),
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        ControlFlow::Continue(())
    }
}

impl Handler for IncidentRecorder {
    type Error = BusError;

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        let mut events = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            match anomalyzer_wire::incidents::decode(delivery) {
                Ok(event) => events.push(event),
                Err(error) => {
                    subscription
                        .dead_letter(delivery, &error.to_string())
                        .await?;
                }
            }
        }
        // The events are handed to the writer in their order, and share its next durable write.
        let recorded = join_all(events.iter().map(|event| self.record(event))).await;
        if recorded.iter().any(ControlFlow::is_break) {
            return Ok(ControlFlow::Break(()));
        }
        let last: BTreeMap<i32, &Delivery> = deliveries
            .iter()
            .map(|delivery| (delivery.partition, delivery))
            .collect();
        for delivery in last.into_values() {
            subscription.commit(delivery).await?;
        }
        Ok(ControlFlow::Continue(()))
    }
}
