//! Keeps a worker running: one that ends with an error is started again after a pause, and
//! `/health` says so meanwhile.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::health::{Health, Status};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that ran this long had recovered.
const RECOVERED: Duration = Duration::from_secs(60);
/// One that was started again is in working order when it has run this long.
const PROVEN: Duration = Duration::from_secs(10);

/// Runs `start` again and again until told to stop.
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
            true => tokio::time::timeout(PROVEN, running.as_mut()).await.ok(),
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
        if began.elapsed() > RECOVERED {
            pause = FIRST_PAUSE;
        }
        let detail = match result {
            Ok(Ok(())) => "ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            // What it held is gone with it; what it had not committed comes again.
            Err(_) => "it panicked, which is a defect: please report it, with the log".to_owned(),
        };
        tracing::error!(part = name, detail, "a part ended and is started again");
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
            // A start is no proof.
            assert_eq!(health.parts()["part"].status, Status::Broken);
            tokio::time::sleep(PROVEN * 2).await;
            shutdown.cancel();
        };
        tokio::join!(worker, watch);
        assert_eq!(health.parts()["part"].status, Status::Ok);
    }
}
