//! Probe of the Kafka broker: asks it for metadata at intervals, and early after an error.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::broker_health::BrokerHealth;
use super::producer::RecordProducer;

const ASK_EVERY: Duration = Duration::from_secs(2);
/// Minimum time between two probes. An error triggers an early probe.
const ASK_AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// Probes the broker periodically, and early after a client reported an error. Returns when `stop`
/// is cancelled.
pub(super) async fn ask_now_and_then(
    watch: Arc<BrokerHealth>,
    outbox: Weak<RecordProducer>,
    topic: String,
    stop: CancellationToken,
) {
    loop {
        let wait = async {
            tokio::time::sleep(ASK_AT_MOST_EVERY).await;
            let _ = tokio::time::timeout(ASK_EVERY, watch.ask.notified()).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
        }
        let Some(outbox) = outbox.upgrade() else {
            return;
        };
        watch.report_fatal_error(outbox.fatal_error());
        let topic = topic.clone();
        let asked = tokio::task::spawn_blocking(move || outbox.ask(Some(&topic), ASK_EVERY)).await;
        if let Ok(answer) = asked {
            watch.report_answered(answer);
        }
    }
}
