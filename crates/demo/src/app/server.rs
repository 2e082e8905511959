//! Serves the application until its shutdown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::args::DemoAppArgs;
use super::faults::Faults;
use super::limit::Limit;
use super::metrics::Metrics;
use super::pool::Pool;
use super::state::App;
use super::{leak, routes};

/// Time that requests may take to end after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves on the address of the arguments until the shutdown, then lets running requests end; see
/// [`serve`].
pub async fn run(args: DemoAppArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: choose another address with --listen",
            args.listen
        )
    })?;
    serve(listener, &args, shutdown).await
}

/// Serves on `listener` until the shutdown, then lets running requests end, for up to three
/// seconds.
pub async fn serve(
    listener: TcpListener,
    args: &DemoAppArgs,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let app = Arc::new(App {
        limit: args.rate_limit.map(Limit::new),
        pool: Pool::new(
            args.workers,
            args.queue,
            Duration::from_millis(args.work_ms.into()),
            args.deadline,
        ),
        faults: Faults::default(),
        metrics: Metrics::new(routes::PAGES.map(|page| page.path)),
        shutdown: shutdown.clone(),
    });
    let leak = tokio::spawn(leak::run(app.clone(), args.leak_cap_mib, shutdown.clone()));
    tracing::info!(%address, workers = args.workers, queue = args.queue, "demo application listening");

    let server = axum::serve(listener, routes::router(app))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = drained => tracing::warn!("shutdown timeout reached, dropping running requests"),
    }
    leak.await?;
    Ok(())
}
