//! Keeps a task running: a task that ends is started again after a pause, and `/health` shows it
//! meanwhile.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::health::{Health, Status};

/// Pause before the first restart. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A task that ran for this time had recovered: the next pause is short again.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);
/// A restarted task is healthy again once it has run for this time.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Runs the future of `start`, and starts it again whenever it ends, until the shutdown.
pub(super) async fn supervise<F, E>(
    name: &'static str,
    health: Health,
    shutdown: CancellationToken,
    mut start: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut pause = FIRST_PAUSE;
    let mut failed = false;
    health.set(name, Status::Ok, "running");
    loop {
        let began = tokio::time::Instant::now();
        let mut running = pin!(AssertUnwindSafe(start()).catch_unwind());
        let short = match failed {
            true => tokio::time::timeout(HEALTHY_AFTER, running.as_mut())
                .await
                .ok(),
            false => None,
        };
        let result = match short {
            Some(result) => result,
            None => {
                health.set(name, Status::Ok, "running");
                running.await
            }
        };
        failed = true;
        if shutdown.is_cancelled() {
            return;
        }
        if began.elapsed() > RECOVERED_AFTER {
            pause = FIRST_PAUSE;
        }
        let detail = match result {
            Ok(Ok(())) => "ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            // The state of the run is lost. Messages that it did not commit are delivered again.
            Err(_) => "it panicked, which is a defect: please report it, with the log".to_owned(),
        };
        tracing::error!(part = name, detail, "task ended; starting it again");
        health.set(
            name,
            Status::Broken,
            format!("{detail}; started again in {pause:?}"),
        );
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_fails_is_started_again_and_health_says_so_meanwhile() {
        let (health, shutdown, starts) = (
            Health::default(),
            CancellationToken::new(),
            Arc::new(AtomicU32::new(0)),
        );
        let worker = supervise("part", health.clone(), shutdown.clone(), || {
            let (starts, shutdown) = (starts.clone(), shutdown.clone());
            async move {
                match starts.fetch_add(1, Ordering::Relaxed) {
                    0 => return Err("no luck"),
                    1 => panic!("on purpose"),
                    _ => {}
                }
                shutdown.cancelled().await;
                Ok(())
            }
        });
        let watch = async {
            loop {
                let part = health.parts().get("part").cloned();
                if part.is_some_and(|part| {
                    part.status == Status::Broken && part.detail.starts_with("no luck")
                }) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            while starts.load(Ordering::Relaxed) < 3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // A start alone does not make the task healthy.
            assert_eq!(health.parts()["part"].status, Status::Broken);
            tokio::time::sleep(HEALTHY_AFTER * 2).await;
            shutdown.cancel();
        };
        tokio::join!(worker, watch);
        assert_eq!(health.parts()["part"].status, Status::Ok);
    }
}
