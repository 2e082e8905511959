//! Delivers batches to the sink, no faster than the sink takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use anomalyzer_domain::MetricBatch;

/// Maximum time that a round of batches is offered. Batches not taken by then are dropped.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time that batches are offered after the shutdown was requested.
const DRAIN: Duration = Duration::from_secs(5);
/// Delivery time after which the sink counts as slow. This is logged, because a slow sink delays
/// the next round.
const SLOW: Duration = Duration::from_secs(1);
/// First and longest pause between two offers of a batch.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Maximum number of batches offered concurrently. The batches of one round hold different series,
/// so their order does not matter.
const AT_ONCE: usize = 16;

/// Reason why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The sink can't take the batch now. The batch is offered again for a while.
    #[error("{0}")]
    Busy(String),
    /// The sink will never take the batch. The batch is dropped.
    #[error("{0}")]
    Refused(String),
}

/// Receiver of the batches.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes a batch. The sources are not asked again before this call returns.
    async fn send(&self, batch: MetricBatch) -> Result<(), SinkError>;
}

/// Publisher of the batches of one kind of source.
pub struct Publisher {
    sink: Arc<dyn Sink>,
    shutdown: CancellationToken,
    slow: bool,
}

impl Publisher {
    /// Creates an outbox that delivers to `sink`.
    pub fn new(sink: Arc<dyn Sink>, shutdown: CancellationToken) -> Self {
        Self {
            sink,
            shutdown,
            slow: false,
        }
    }

    /// Delivers the batches. Returns the number of dropped ones once all are taken or dropped.
    pub async fn deliver(&mut self, batches: Vec<MetricBatch>) -> u64 {
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let (all, taken_batches) = (batches.len() as u64, AtomicU64::new(0));
        let offers = batches
            .into_iter()
            .map(|batch| offer(self.sink.as_ref(), batch, deadline));
        let dropped = futures::stream::iter(offers)
            .buffer_unordered(AT_ONCE)
            .fold(0, async |sum, taken| {
                if taken {
                    taken_batches.fetch_add(1, Ordering::Relaxed);
                }
                sum + u64::from(!taken)
            });
        let mut dropped = std::pin::pin!(dropped);
        let shut_down = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            dropped = &mut dropped => {
                if std::mem::take(&mut self.slow) {
                    tracing::info!("sink is fast enough again");
                }
                return dropped;
            }
            () = tokio::time::sleep(SLOW) => {}
        }
        if !std::mem::replace(&mut self.slow, true) {
            tracing::warn!("sink is slow, asking the sources less often");
        }
        tokio::select! {
            dropped = &mut dropped => dropped,
            () = shut_down => {
                tracing::warn!("dropping undelivered samples at shutdown");
                all - taken_batches.load(Ordering::Relaxed)
            }
        }
    }
}

/// Offers a batch until it is taken, it is refused or the deadline is over. Returns true if it was
/// taken.
async fn offer(sink: &dyn Sink, batch: MetricBatch, deadline: Instant) -> bool {
    let (mut pause, longest) = PAUSES;
    loop {
        let error = match sink.send(batch.clone()).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        let again = matches!(error, SinkError::Busy(_)) && Instant::now() + pause < deadline;
        if !again {
            tracing::warn!(signal = batch.signal, %error, "dropping samples");
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use anomalyzer_domain::testing::empty_batch;

    use super::*;

    /// A sink that is busy for the given number of offers, and refuses the signal `bad`.
    struct Fussy(AtomicU32);

    #[async_trait]
    impl Sink for Fussy {
        async fn send(&self, batch: MetricBatch) -> Result<(), SinkError> {
            if batch.signal == "bad" {
                return Err(SinkError::Refused("never".to_owned()));
            }
            let less = |busy: u32| busy.checked_sub(1);
            match self
                .0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            {
                Ok(_) => Err(SinkError::Busy("not now".to_owned())),
                Err(_) => Ok(()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn batches_that_the_shutdown_cuts_off_count_as_dropped() {
        let sink = Arc::new(Fussy(AtomicU32::new(u32::MAX)));
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let mut outbox = Publisher::new(sink, shutdown);
        let batch = || empty_batch("good");
        assert_eq!(outbox.deliver(vec![batch(), batch(), batch()]).await, 3);
    }

    #[tokio::test]
    async fn a_busy_sink_is_offered_again_and_a_refusal_is_counted() {
        let sink = Arc::new(Fussy(AtomicU32::new(3)));
        let mut outbox = Publisher::new(sink.clone(), CancellationToken::new());
        let batches = ["good", "bad", "good"].map(empty_batch);
        assert_eq!(outbox.deliver(batches.into()).await, 1);
        assert_eq!(sink.0.load(Ordering::SeqCst), 0);
    }
}
