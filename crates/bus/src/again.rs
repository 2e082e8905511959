//! What must not be lost is tried again, with longer and longer pauses, until the bus takes it or
//! everything ends.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, Subscription};
use anomalyzer_domain::{Delivery, Record, Topic};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pauses between tries.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    /// Waits. False when told to stop meanwhile.
    pub async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// Whether the bus may take it later.
fn passes(error: &BusError) -> bool {
    !matches!(error, BusError::Closed | BusError::TooLarge { .. })
}

/// Publishes, however long the bus can't. An error is one that does not pass; [`BusError::Closed`]
/// also when told to stop.
pub async fn publish(
    bus: &dyn Bus,
    topic: Topic,
    record: Record,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    let mut pauses = Pauses::default();
    loop {
        match bus.publish(topic, record.clone()).await {
            Err(error) if passes(&error) => {
                tracing::warn!(?topic, %error, "a message cannot be published; trying again");
                if !pauses.wait(stop).await {
                    return Err(BusError::Closed);
                }
            }
            result => return result,
        }
    }
}

/// Sets a message aside, however long the bus can't: only then may it be committed. What is too
/// large for the dead letters is logged and let go, since it would hold up all that follow.
/// [`BusError::Closed`] when told to stop.
pub async fn set_aside(
    subscription: &mut dyn Subscription,
    delivery: &Delivery,
    reason: &str,
    stop: &CancellationToken,
) -> Result<(), BusError> {
    let (topic, partition, offset) = (delivery.topic, delivery.partition, delivery.offset);
    tracing::warn!(?topic, partition, offset, reason, "a message is set aside");
    let mut pauses = Pauses::default();
    loop {
        match subscription.dead_letter(delivery, reason).await {
            Err(error @ BusError::TooLarge { .. }) => {
                tracing::error!(?topic, partition, offset, %error, "a message is too large to be set aside, and is let go");
                return Ok(());
            }
            Err(error) if passes(&error) => {
                tracing::error!(?topic, partition, offset, %error, "a message cannot be set aside; trying again");
                if !pauses.wait(stop).await {
                    return Err(BusError::Closed);
                }
            }
            result => return result,
        }
    }
}
