//! A start on a full disk: people are told, `/health` answers with the reason, and the start goes
//! on once there is room.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use anomalyzer_api::{Access, EngineState, PartHealth, PartStatus, ProbeBackend};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_egress::notify::Notifier;
use anomalyzer_remediate::{OffRecord, Unrecorded};

/// Room that a start needs at least, in bytes.
const NEEDED_BYTES: usize = 1 << 20;
/// Interval between two looks for room.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Name of the file that takes up room for a moment.
const FILE_NAME: &str = ".room";

/// Returns the reason if the data folder has no room for a start.
pub(super) fn missing_room(data_dir: &Path) -> Option<String> {
    let path = data_dir.join(FILE_NAME);
    let filled = fill(&path);
    // The file may not exist.
    let _ = std::fs::remove_file(&path);
    let error = filled.err()?;
    let full = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    );
    full.then(|| {
        format!(
            "{} has no room: {error}; free at least {} MiB, and the start goes on by itself",
            data_dir.display(),
            NEEDED_BYTES >> 20
        )
    })
}

fn fill(path: &Path) -> io::Result<()> {
    // A file that an earlier start left would make the creation fail.
    let _ = std::fs::remove_file(path);
    let mut file = File::create_new(path)?;
    file.write_all(&vec![0x5a; NEEDED_BYTES])?;
    file.sync_all()
}

/// Serves `/health` with the reason, tells people, and returns once there is room or at the
/// shutdown.
///
/// # Errors
/// The port cannot be used, or a channel for notices is not usable.
pub(super) async fn wait_for_room(
    config: &Config,
    (listener, access): (TcpListener, Access),
    reason: String,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::error!(reason, "cannot start yet");
    let notifier = Arc::new(Notifier::new(config.notify.clone())?);
    let title = "nothing is watched and nothing is done: the disk is full".to_owned();
    let unrecorded = Unrecorded {
        key: title.clone(),
        title,
        text: reason.clone(),
        incident: None,
        target: None,
    };
    let stop = shutdown.child_token();
    let backend = Arc::new(NoRoom { reason });
    let metrics = Metrics::default();
    let router = anomalyzer_api::engine_router(EngineState::new(access, backend, metrics.clone()));
    let served = anomalyzer_api::serve(listener, router, metrics, stop.clone());
    let served = tokio::spawn(served);
    let off_record = OffRecord::new(notifier, Arc::new(now_ms));
    let notifying = tokio::spawn(async move { off_record.tell(unrecorded).await });
    while missing_room(&config.data_dir).is_some() && !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
    stop.cancel();
    let _ = served.await?;
    notifying.abort();
    Ok(())
}

/// Health of a service that has no room to start.
struct NoRoom {
    reason: String,
}

#[async_trait]
impl ProbeBackend for NoRoom {
    fn health(&self) -> Vec<PartHealth> {
        vec![PartHealth {
            name: "storage".to_owned(),
            status: PartStatus::Broken,
            detail: self.reason.clone(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_room_is_left_as_it_was() {
        let name = format!("anomalyzer-room-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(missing_room(&folder), None);
        // The folder is empty, so it can be removed.
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(missing_room(&folder), None, "a missing folder is not full");
    }
}
