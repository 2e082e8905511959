//! Run of the executor: waits until solutions come to this server, and consumes them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Executor;
use super::consumer::{MAX_BATCH, SolutionConsumer};
use super::decision_run::DecisionRun;
use anomalyzer_bus::retry::Backoff;
use anomalyzer_bus::{Batch, BusError, Ended, Handler, OnReadError, Subscription, consume};
use anomalyzer_domain::{Delivery, Topic};

/// Time that the first verification of the record may hold up decisions. It takes longer for a very
/// large record.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds of a read while this server is on standby. It looks often whether it acts now.
const STANDBY_BATCH: Batch = Batch {
    topic: Topic::Solutions,
    max: MAX_BATCH,
    wait: Duration::from_millis(100),
    on_error: OnReadError::Return,
};

impl Executor {
    /// Carries out solutions until `shutdown` is cancelled.
    ///
    /// The offset of a solution is committed once its decision is on record. From there the
    /// decision continues after a crash as well. If several servers share the topics, one of them
    /// acts, and the others wait here until solutions are delivered to them.
    ///
    /// # Errors
    /// The bus stayed out of reach.
    pub async fn run(
        self: Arc<Self>,
        group: &str,
        shutdown: CancellationToken,
    ) -> Result<(), BusError> {
        let mut pauses = Backoff::default();
        while !shutdown.is_cancelled() {
            // The subscription comes first: if the bus is out of reach, nothing has begun yet that
            // the next try would repeat. Each try subscribes anew, so that solutions which were
            // delivered to a server on standby are delivered again to the server that acts.
            let mut subscription = self.bus.subscribe(Topic::Solutions, group).await?;
            let Some(first) = turn(subscription.as_mut(), &shutdown).await? else {
                return Ok(());
            };
            if let Err(error) = self.history.take_over().await {
                tracing::error!(%error, "cannot record, so nothing is executed; retrying");
                // Another server may be able to record: leave the solutions to it meanwhile.
                drop(subscription);
                pauses.wait(&shutdown).await;
                continue;
            }
            pauses = Backoff::default();
            // A decision must not begin by a record that somebody altered.
            let verified = tokio::time::timeout(VERIFY_TIMEOUT, self.history.verified_once());
            tokio::select! {
                verified = verified => if verified.is_err() {
                    tracing::warn!("the record is not verified yet; acting meanwhile");
                },
                () = shutdown.cancelled() => return Ok(()),
            }
            let stop = shutdown.child_token();
            // After a panic too, the tasks of this run end with it.
            let _end = stop.clone().drop_guard();
            let mut consumer = SolutionConsumer {
                tasks: TaskTracker::new(),
                run: DecisionRun {
                    executor: Arc::clone(&self),
                    stop: stop.clone(),
                    permits: Arc::new(Semaphore::new(self.config.concurrency.max(1))),
                },
            };
            let result = tokio::select! {
                result = consumer.work(subscription.as_mut(), first) => result,
                () = self.history.stands_by() => Ok(()),
            };
            stop.cancel();
            consumer.tasks.close();
            consumer.tasks.wait().await;
            match result {
                // The bus is closed, or `shutdown` was cancelled during a wait for the bus.
                Err(BusError::Closed) => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }
}

/// Waits until solutions are delivered to this server, and returns the solutions delivered so far.
/// Returns `None` once `shutdown` is cancelled.
async fn turn(
    subscription: &mut dyn Subscription,
    shutdown: &CancellationToken,
) -> Result<Option<Vec<Delivery>>, BusError> {
    let mut standby = Standby { first: vec![] };
    let ended = consume(subscription, STANDBY_BATCH, shutdown, &mut standby).await?;
    Ok((ended != Ended::Shutdown).then_some(standby.first))
}

/// Handler of a server on standby. It ends with the first solutions, or as soon as solutions are
/// delivered to this server.
struct Standby {
    /// The first solutions. They are neither recorded nor committed yet.
    first: Vec<Delivery>,
}

impl Handler for Standby {
    type Error = BusError;

    async fn before_read(
        &mut self,
        subscription: &mut dyn Subscription,
        batch: Batch,
    ) -> Result<ControlFlow<(), Batch>, BusError> {
        Ok(match subscription.is_active() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(batch),
        })
    }

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        _: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        self.first = deliveries;
        Ok(match self.first.is_empty() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    }
}
