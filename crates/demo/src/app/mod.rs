//! `anomalyzer demo-app`: an HTTP service with faults that can be switched on.
//!
//! A bounded pool of workers serves a bounded queue, so that latency and errors result from
//! queueing and not from a formula. A fault affects only its own process: a restart repairs it, and
//! more replicas serve more requests.

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

use anomalyzer_domain::duration;

use faults::Faults;
use limit::Limit;
use metrics::Metrics;
use pool::Pool;

/// Time that requests may take to end after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);

/// Arguments of `anomalyzer demo-app`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoAppArgs {
    /// Address to serve on
    #[arg(long, env = "DEMO_APP_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Number of requests that are processed concurrently
    #[arg(long, env = "DEMO_APP_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers: u32,
    /// Number of requests that may wait for a worker; further ones are answered 503
    #[arg(long, env = "DEMO_APP_QUEUE", default_value_t = 64)]
    pub queue: u32,
    /// Mean processing time of a request in milliseconds
    #[arg(long, env = "DEMO_APP_WORK_MS", default_value_t = 20)]
    pub work_ms: u32,
    /// Maximum wait of a request for a worker before it is answered 504
    #[arg(long, env = "DEMO_APP_DEADLINE", default_value = "2s", value_parser = duration::parse)]
    pub deadline: Duration,
    /// Maximum number of requests per second; further ones are answered 429. Unlimited if not set
    #[arg(long, env = "RATE_LIMIT", value_parser = positive)]
    pub rate_limit: Option<f64>,
    /// Maximum growth of the memory by the fault `leak`, in MiB
    #[arg(long, env = "DEMO_APP_LEAK_CAP_MIB", default_value_t = 1024)]
    pub leak_cap_mib: u32,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("give a number above 0".to_owned()),
    }
}

/// Shared state of the service's handlers.
struct App {
    limit: Option<Limit>,
    pool: Pool,
    faults: Faults,
    metrics: Metrics,
    shutdown: CancellationToken,
}

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
