//! Retries for messages that must not be lost: with growing pauses, until the bus accepts the
//! message or the service stops.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, Subscription};
use anomalyzer_domain::{Delivery, Record, Topic};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Growing pauses between attempts.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// Waits for the next pause. Returns false if `stop` is cancelled meanwhile.
    pub async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// Returns true if a later attempt may succeed.
fn is_transient(error: &BusError) -> bool {
    !matches!(error, BusError::Closed | BusError::TooLarge { .. })
}

/// Publishes a message, and retries while the bus is unavailable.
///
/// # Errors
/// A permanent error, or [`BusError::Closed`] if `stop` is cancelled.
pub async fn publish(
    bus: &dyn Bus,
    topic: Topic,
    record: Record,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    let mut pauses = Backoff::default();
    loop {
        match bus.publish(topic, record.clone()).await {
            Err(error) if is_transient(&error) => {
                tracing::warn!(?topic, %error, "cannot publish a message; retrying");
                if !pauses.wait(stop).await {
                    return Err(BusError::Closed);
                }
            }
            result => return result,
        }
    }
}

/// Sets a message aside as a dead letter, and retries while the bus is unavailable. The caller may
/// commit the message after this returns. A message that is too large for the dead letters is
/// logged and dropped, because it would block all later messages.
///
/// # Errors
/// A permanent error, or [`BusError::Closed`] if `stop` is cancelled.
pub async fn set_aside(
    subscription: &mut dyn Subscription,
    delivery: &Delivery,
    reason: &str,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    let (topic, partition, offset) = (delivery.topic, delivery.partition, delivery.offset);
    tracing::warn!(?topic, partition, offset, reason, "setting a message aside");
    let mut pauses = Backoff::default();
    loop {
        match subscription.dead_letter(delivery, reason).await {
            Err(error @ BusError::TooLarge { .. }) => {
                tracing::error!(?topic, partition, offset, %error, "a message is too large to be set aside; dropping it");
                return Ok(());
            }
            Err(error) if is_transient(&error) => {
                tracing::error!(?topic, partition, offset, %error, "cannot set a message aside; retrying");
                if !pauses.wait(stop).await {
                    return Err(BusError::Closed);
                }
            }
            result => return result,
        }
    }
}
