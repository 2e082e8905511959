//! `anomalyzer demo-load`: open-loop traffic. A clock triggers the requests, and not the response
//! to the previous request. Real visitors, who know nothing of each other, behave in the same way:
//! a service that slows down gets no relief from its load.

mod control;
mod shape;
mod status;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::collect::http_sd;
use crate::common::http_client;
use crate::domain::duration;

use shape::Surges;
use status::Counters;

pub use shape::Shape;
pub use status::LoadStatus;

/// Time that connections to the control endpoint may stay open after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// Time between two requests for the list of targets.
const DISCOVERY: Duration = Duration::from_secs(1);

/// Arguments of `anomalyzer demo-load`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoLoadArgs {
    /// Replica to send to, as http://127.0.0.1:8000; may be given several times
    #[arg(
        long = "target",
        value_name = "URL",
        required_unless_present = "targets_url"
    )]
    pub targets: Vec<String>,
    /// URL of the list of replicas, in the format of Prometheus's HTTP service discovery; polled
    /// every second
    #[arg(long, value_name = "URL", conflicts_with = "targets")]
    pub targets_url: Option<String>,
    /// Address of the control endpoint: POST /surge?factor=4&for=20s, DELETE /surge, GET /status
    #[arg(long, default_value = "127.0.0.1:8100")]
    pub listen: SocketAddr,
    /// Shape of the traffic
    #[command(flatten)]
    pub settings: LoadSettings,
}

/// Amount and shape of the traffic.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadSettings {
    /// Mean number of requests per second over a day
    #[arg(long, default_value_t = 40.0)]
    pub rate: f64,
    /// Random drift of the rate, as a share; the arrivals are also a Poisson process
    #[arg(long, default_value_t = 0.05)]
    pub noise: f64,
    /// Length of a day
    #[arg(long, default_value = "1d", value_parser = duration::parse)]
    pub day: Duration,
    /// Height of the busiest hour above the mean, as a share
    #[arg(long, default_value_t = 0.3)]
    pub amplitude: f64,
    /// Timeout of a request
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Maximum number of concurrent requests; further ones are dropped and counted
    #[arg(long, default_value_t = 1000)]
    pub in_flight: usize,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            rate: 40.0,
            noise: 0.05,
            day: Duration::from_secs(86_400),
            amplitude: 0.3,
            timeout: Duration::from_secs(5),
            in_flight: 1000,
        }
    }
}

/// Running traffic. It ends with its shutdown token.
#[derive(Clone)]
pub struct Load {
    surges: Arc<Surges>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl Load {
    /// Starts to send requests to the targets (base URLs such as `http://127.0.0.1:8000`), round
    /// robin over the newest list.
    pub fn start(
        targets: watch::Receiver<Vec<String>>,
        settings: &LoadSettings,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let shape = Shape::new(settings)?;
        let client =
            http_client::client(settings.timeout).context("cannot set up the HTTP client")?;
        let load = Self {
            surges: Arc::default(),
            counters: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let traffic = traffic::Traffic {
            targets,
            client,
            in_flight: settings.in_flight,
            surges: load.surges.clone(),
            counters: load.counters.clone(),
        };
        load.tasks.spawn(traffic.run(shape, shutdown));
        load.tasks.close();
        Ok(load)
    }

    /// Multiplies the rate by `factor` until the next change. A factor of 1 is the usual rate, and
    /// 0 stops the traffic.
    pub fn set_factor(&self, factor: f64) {
        self.surges.set(factor, None);
    }

    /// Multiplies the rate by `factor` for the duration `lasts`.
    pub fn surge(&self, factor: f64, lasts: Duration) {
        self.surges.set(factor, Some(lasts));
    }

    /// Returns the counters of requests and responses.
    pub fn status(&self) -> LoadStatus {
        self.counters.status(self.surges.factor())
    }

    /// Waits until the shutdown was requested and the traffic has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

/// Sends traffic and serves the control endpoint until the shutdown.
pub async fn run(args: DemoLoadArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: choose another address with --listen",
            args.listen
        )
    })?;
    serve(listener, args, shutdown).await
}

/// Sends traffic and serves the control endpoint on `listener` until the shutdown; see [`run`].
pub async fn serve(
    listener: TcpListener,
    args: DemoLoadArgs,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (sender, targets) = watch::channel(args.targets);
    let load = Load::start(targets, &args.settings, shutdown.clone())?;
    let discovery = args
        .targets_url
        .map(|url| tokio::spawn(discover(url, sender, shutdown.clone())));
    tracing::info!(address = %listener.local_addr()?, rate = args.settings.rate, "demo load started");
    let server = axum::serve(listener, control::router(load.clone()));
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.with_graceful_shutdown(shutdown.clone().cancelled_owned()) => ended?,
        () = late => tracing::warn!("shutdown timeout reached, dropping connections to the control endpoint"),
    }
    if let Some(discovery) = discovery {
        discovery.await?;
    }
    load.ended().await;
    Ok(())
}

/// Keeps the list of targets up to date. While the list is unavailable, the last one is used.
async fn discover(url: String, sender: watch::Sender<Vec<String>>, shutdown: CancellationToken) {
    let client = match http_client::client(DISCOVERY) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot set up the HTTP client"),
    };
    let mut said = false;
    loop {
        match http_sd::fetch(&client, &url).await {
            Ok(found) => {
                said = false;
                let bases: Vec<String> = found.iter().map(http_sd::Discovered::base_url).collect();
                sender
                    .send_if_modified(|known| (*known != bases).then(|| *known = bases).is_some());
            }
            Err(error) if !said => {
                said = true;
                tracing::warn!(%error, "cannot fetch the list of targets, keeping the last one");
            }
            Err(_) => {}
        }
        if tokio::time::timeout(DISCOVERY, shutdown.cancelled())
            .await
            .is_ok()
        {
            return;
        }
    }
}
