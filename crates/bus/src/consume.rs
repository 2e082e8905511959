//! The loop of every consumer: reads batches of messages until told to stop, and hands each batch
//! to a handler.
//!
//! **Invariant:** the loop itself never commits. A handler commits a message after the effect of
//! the message is durable.

use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BusError, Subscription};
use anomalyzer_domain::{Delivery, Topic};

/// Pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Bounds of the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The topic of the subscription, for the log.
    pub topic: Topic,
    /// Maximum number of messages. With 0 nothing is read: the handler gets an empty batch after
    /// `wait`.
    pub max: usize,
    /// Maximum time until the first message arrives. After it the handler gets an empty batch.
    pub wait: Duration,
    /// The reaction to a failed read.
    pub on_error: OnReadError,
}

/// The reaction of a consumer to a failed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReadError {
    /// Logs the error and reads again after a pause. A closed bus ends the loop without an error.
    Retry,
    /// Ends the loop with the error, so that the supervisor subscribes anew.
    Return,
}

/// The reason why [`consume`] returned without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The shutdown was requested.
    Shutdown,
    /// The bus is closed.
    Closed,
    /// The handler stopped the loop.
    ByHandler,
}

/// The consumer's own part of the loop.
pub trait Handler: Send {
    /// The error that ends the loop.
    type Error: From<BusError> + Send;

    /// Prepares the next read and returns its bounds. `batch` holds the bounds that [`consume`] was
    /// called with. `Break` ends the loop.
    fn before_read(
        &mut self,
        _subscription: &mut dyn Subscription,
        batch: Batch,
    ) -> impl Future<Output = Result<ControlFlow<(), Batch>, Self::Error>> + Send {
        std::future::ready(Ok(ControlFlow::Continue(batch)))
    }

    /// Handles the messages of one read, and commits those whose effect is durable. `deliveries` is
    /// empty if no message arrived in time. `Break` ends the loop.
    fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
    ) -> impl Future<Output = Result<ControlFlow<()>, Self::Error>> + Send;
}

/// Reads batches and hands them to `handler` until `shutdown`, until the bus is closed, or until
/// the handler stops the loop. `shutdown` interrupts a read, never the handler.
///
/// # Errors
/// An error of the handler, or a failed read with [`OnReadError::Return`].
pub async fn consume<H: Handler>(
    subscription: &mut dyn Subscription,
    batch: Batch,
    shutdown: &CancellationToken,
    handler: &mut H,
) -> Result<Ended, H::Error> {
    loop {
        let next = match handler.before_read(subscription, batch).await? {
            ControlFlow::Continue(next) => next,
            ControlFlow::Break(()) => return Ok(Ended::ByHandler),
        };
        let read = tokio::select! {
            () = shutdown.cancelled() => return Ok(Ended::Shutdown),
            read = subscription.next(next.max, next.wait), if next.max > 0 => read,
            () = tokio::time::sleep(next.wait), if next.max == 0 => Ok(vec![]),
        };
        let deliveries = match (read, next.on_error) {
            (Ok(deliveries), _) => deliveries,
            (Err(error), OnReadError::Return) => return Err(error.into()),
            (Err(BusError::Closed), OnReadError::Retry) => return Ok(Ended::Closed),
            (Err(error), OnReadError::Retry) => {
                tracing::warn!(topic = ?next.topic, %error, "cannot read messages; retrying");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(Ended::Shutdown),
                    () = tokio::time::sleep(RETRY_PAUSE) => continue,
                }
            }
        };
        if handler.handle(deliveries, subscription).await?.is_break() {
            return Ok(Ended::ByHandler);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Failing, FakeBus};
    use anomalyzer_domain::Record;

    const BATCH: Batch = Batch {
        topic: Topic::Metrics,
        max: 2,
        wait: Duration::from_secs(1),
        on_error: OnReadError::Retry,
    };

    /// Commits every message, notes the sizes of the batches, and stops after `stop_after` batches.
    struct Counting {
        sizes: Vec<usize>,
        stop_after: usize,
        max: usize,
    }

    impl Counting {
        fn until(stop_after: usize) -> Self {
            Self {
                sizes: vec![],
                stop_after,
                max: BATCH.max,
            }
        }
    }

    impl Handler for Counting {
        type Error = BusError;

        async fn before_read(
            &mut self,
            _: &mut dyn Subscription,
            batch: Batch,
        ) -> Result<ControlFlow<(), Batch>, BusError> {
            Ok(ControlFlow::Continue(Batch {
                max: self.max,
                ..batch
            }))
        }

        async fn handle(
            &mut self,
            deliveries: Vec<Delivery>,
            subscription: &mut dyn Subscription,
        ) -> Result<ControlFlow<()>, BusError> {
            self.sizes.push(deliveries.len());
            for delivery in &deliveries {
                subscription.commit(delivery).await?;
            }
            Ok(match self.sizes.len() < self.stop_after {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        }
    }

    fn bus_with(messages: usize) -> FakeBus {
        let bus = FakeBus::default();
        for _ in 0..messages {
            bus.offer(Topic::Metrics, Record::default());
        }
        bus
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_bounded_and_an_empty_one_says_that_nothing_came() {
        let bus = bus_with(3);
        let mut counting = Counting::until(3);
        let (mut subscription, shutdown) = (bus.clone(), CancellationToken::new());
        let ended = consume(&mut subscription, BATCH, &shutdown, &mut counting).await;
        assert_eq!(ended.unwrap(), Ended::ByHandler);
        assert_eq!(counting.sizes, [2, 1, 0]);
        assert_eq!(bus.committed(), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_without_room_reads_nothing_and_is_called_again_after_the_wait() {
        let mut subscription = bus_with(1);
        let mut counting = Counting {
            max: 0,
            ..Counting::until(2)
        };
        let (began, shutdown) = (tokio::time::Instant::now(), CancellationToken::new());
        consume(&mut subscription, BATCH, &shutdown, &mut counting)
            .await
            .unwrap();
        assert_eq!(counting.sizes, [0, 0]);
        assert_eq!(began.elapsed(), 2 * BATCH.wait);
    }

    /// Stops the loop before its first read.
    struct Stopping;

    impl Handler for Stopping {
        type Error = BusError;

        async fn before_read(
            &mut self,
            _: &mut dyn Subscription,
            _: Batch,
        ) -> Result<ControlFlow<(), Batch>, BusError> {
            Ok(ControlFlow::Break(()))
        }

        async fn handle(
            &mut self,
            _: Vec<Delivery>,
            _: &mut dyn Subscription,
        ) -> Result<ControlFlow<()>, BusError> {
            panic!("nothing was read")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_stops_before_a_read_leaves_the_messages_to_the_next_reader() {
        let mut subscription = bus_with(1);
        let shutdown = CancellationToken::new();
        let ended = consume(&mut subscription, BATCH, &shutdown, &mut Stopping).await;
        assert_eq!(ended.unwrap(), Ended::ByHandler);
        let left = subscription.next(BATCH.max, BATCH.wait).await.unwrap();
        assert_eq!(left.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_is_retried_or_ends_the_loop_as_the_batch_says() {
        let failing = Failing {
            next: 2,
            ..Failing::default()
        };
        let (mut subscription, shutdown) = (bus_with(1), CancellationToken::new());
        subscription.fail(failing);
        let mut counting = Counting::until(1);
        consume(&mut subscription, BATCH, &shutdown, &mut counting)
            .await
            .unwrap();
        assert_eq!(counting.sizes, [1]);

        subscription.fail(failing);
        let batch = Batch {
            on_error: OnReadError::Return,
            ..BATCH
        };
        let ended = consume(&mut subscription, batch, &shutdown, &mut counting).await;
        assert!(matches!(ended, Err(BusError::Unavailable(_))), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_shutdown_ends_a_read_and_a_pause() {
        for failing in [0, u32::MAX] {
            let (mut subscription, shutdown) = (bus_with(0), CancellationToken::new());
            subscription.fail(Failing {
                next: failing,
                ..Failing::default()
            });
            let mut counting = Counting::until(usize::MAX);
            let stopping = async {
                tokio::time::sleep(Duration::from_millis(1700)).await;
                shutdown.cancel();
            };
            let consuming = consume(&mut subscription, BATCH, &shutdown, &mut counting);
            let (ended, ()) = tokio::join!(consuming, stopping);
            assert_eq!(ended.unwrap(), Ended::Shutdown);
        }
    }
}
