//! Watches if decisions and messages can be recorded, and tells people when they cannot.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use anomalyzer_bus::Bus;
use anomalyzer_history::History;
use anomalyzer_remediate::{OffRecord, Unrecorded};

/// Interval between two looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Number of looks in a row that must find a problem before people are told.
const PERSISTENT: u32 = 5;

/// Tells people of a record that cannot be written, and of a record that differs from its events,
/// until the shutdown.
pub(super) async fn run(
    bus: Arc<dyn Bus>,
    history: History,
    off_record: OffRecord,
    shutdown: CancellationToken,
) {
    let mut failing = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        let mismatch = history.verification().mismatch;
        let problem = history.health().problem.or_else(|| bus.health().problem);
        failing = match &problem {
            Some(_) => failing + 1,
            None => 0,
        };
        let title = match (&problem, &mismatch) {
            (Some(_), _) if failing >= PERSISTENT => {
                "nothing can be recorded, so nothing is done".to_owned()
            }
            (Some(_), _) => continue,
            (None, Some(_)) => "the record differs from its events".to_owned(),
            (None, None) => {
                off_record.end();
                continue;
            }
        };
        let text = problem.or(mismatch).unwrap_or_default();
        off_record
            .tell(Unrecorded {
                key: title.clone(),
                title,
                text,
                incident: None,
                target: None,
            })
            .await;
    }
}
