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

/// Name of the file with the id of this history.
const ID_FILE_NAME: &str = "history.id";
/// Maximum size of that file, in bytes.
const MAX_ID_BYTES: u64 = 1024;
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
/// The data folder, or the file with the id in it, cannot be read or written.
pub(super) fn group(bus: &dyn Bus, data_dir: &Path) -> io::Result<String> {
    const GROUP: &str = "anomalyzer-history";
    match bus.log_of_record() {
        None => Ok(GROUP.to_owned()),
        Some(_) => Ok(format!("{GROUP}-{}", id_in(data_dir)?)),
    }
}

/// Returns the id of the history in the folder, which it gets when it is first asked for.
fn id_in(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(ID_FILE_NAME);
    let unusable = |error: io::Error| {
        let text = format!(
            "{}: {error}; remove it, and the history gets another id",
            path.display()
        );
        io::Error::new(error.kind(), text)
    };
    match anomalyzer_regular_file::read_text(&path, MAX_ID_BYTES) {
        Ok(id) if is_id(id.trim()) => return Ok(id.trim().to_owned()),
        // A crash came between the creation of the file and the id.
        Ok(id) if id.is_empty() => {}
        Ok(_) => return Err(unusable(io::Error::other("it holds no id"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(error)),
    }
    let id = format!("{:032x}", fastrand::u128(..));
    private_file(&path)
        .and_then(|mut file| file.write_all(id.as_bytes()))
        .map_err(unusable)?;
    Ok(id)
}

/// Returns true if the text can be part of the name of a consumer group.
fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
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
    let mut recorder = HistoryRecorder {
        history,
        incidents,
        shutdown: shutdown.clone(),
    };
    consume(subscription.as_mut(), BATCH, &shutdown, &mut recorder).await?;
    Ok(())
}

/// Records the events of incidents.
struct HistoryRecorder {
    history: History,
    incidents: OpenIncidents,
    shutdown: CancellationToken,
}

impl HistoryRecorder {
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

impl Handler for HistoryRecorder {
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn an_id_stays_and_nothing_in_the_place_of_its_file_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let id = id_in(folder.path()).unwrap();
        assert_eq!(id_in(folder.path()).unwrap(), id);
        fs::write(folder.path().join(ID_FILE_NAME), "").unwrap();
        assert_ne!(id_in(folder.path()).unwrap(), id);
        type Put = fn(&Path);
        let things: [(&str, Put); 7] = [
            ("a pipe", |path| {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }),
            ("a folder", |path| fs::create_dir(path).unwrap()),
            ("a loop", |path| symlink(path, path).unwrap()),
            ("a device", |path| symlink("/dev/zero", path).unwrap()),
            ("a link to nowhere", |path| {
                symlink("/nowhere/else", path).unwrap();
            }),
            ("a sparse file", |path| {
                File::create(path).unwrap().set_len(1 << 30).unwrap();
            }),
            ("other text", |path| fs::write(path, "a\nb").unwrap()),
        ];
        for (what, put) in things {
            let folder = tempfile::tempdir().unwrap();
            put(&folder.path().join(ID_FILE_NAME));
            let error = id_in(folder.path()).unwrap_err().to_string();
            assert!(
                error.contains(ID_FILE_NAME) && error.contains("remove it"),
                "{what}: {error}"
            );
        }
    }
}
