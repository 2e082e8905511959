//! `anomalyzer demo-app`: an HTTP service that can be made to go wrong for real.
//!
//! A bounded pool of workers serves a bounded queue, so that latency and errors come out of
//! queueing and not out of a formula. What a fault breaks lives in the process: a restart heals it,
//! and more replicas serve more.

mod faults;
mod leak;
mod limit;
mod memory;
mod metrics;
mod pool;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::domain::duration;

use faults::Faults;
use limit::Limit;
use metrics::Metrics;
use pool::Pool;

/// How long requests may take to end after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// The arguments of `anomalyzer demo-app`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoAppArgs {
    /// Address to serve on
    #[arg(long, env = "DEMO_APP_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// How many requests are worked on at once
    #[arg(long, env = "DEMO_APP_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers: u32,
    /// How many requests may wait for a worker; one more is answered 503
    #[arg(long, env = "DEMO_APP_QUEUE", default_value_t = 64)]
    pub queue: u32,
    /// How long a request is worked on in the mean, in milliseconds
    #[arg(long, env = "DEMO_APP_WORK_MS", default_value_t = 20)]
    pub work_ms: u32,
    /// How long a request may wait for a worker before it is answered 504
    #[arg(long, env = "DEMO_APP_DEADLINE", default_value = "2s", value_parser = duration::parse)]
    pub deadline: Duration,
    /// How many requests a second are let in; one more is answered 429. All if it is not set
    #[arg(long, env = "RATE_LIMIT", value_parser = positive)]
    pub rate_limit: Option<f64>,
    /// How far the fault `leak` may grow the memory, in MiB
    #[arg(long, env = "DEMO_APP_LEAK_CAP_MIB", default_value_t = 1024)]
    pub leak_cap_mib: u32,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("give a number above 0".to_owned()),
    }
}

/// What the service's handlers share.
struct App {
    limit: Option<Limit>,
    pool: Pool,
    faults: Faults,
    metrics: Metrics,
    shutdown: CancellationToken,
}

/// Serves on the address of the arguments until the shutdown, then lets running requests end.
pub async fn run(args: DemoAppArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: choose another address with --listen",
            args.listen
        )
    })?;
    serve(listener, &args, shutdown).await
}

/// Serves on a listener until the shutdown, then lets running requests end, up to three seconds.
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
    tracing::info!(%address, workers = args.workers, queue = args.queue, "demo application serves");

    let server = axum::serve(listener, routes::router(app))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = drained => tracing::warn!("requests still running at the end of the shutdown are cut"),
    }
    leak.await?;
    Ok(())
}
