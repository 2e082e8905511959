//! `anomalyzer demo-load`: open-loop traffic. Requests are sent by a clock and not when the last
//! one was answered, as visitors do who know nothing of each other: a service that slows down gets
//! no relief from its load.

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

/// How long connections to the control door may stay open after the shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// How often the list of targets is asked for.
const DISCOVERY: Duration = Duration::from_secs(1);

/// The arguments of `anomalyzer demo-load`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoLoadArgs {
    /// Replica to send to, as http://127.0.0.1:8000; may be given several times
    #[arg(
        long = "target",
        value_name = "URL",
        required_unless_present = "targets_url"
    )]
    pub targets: Vec<String>,
    /// Where the list of replicas is asked for every second, in the format of Prometheus's HTTP
    /// service discovery
    #[arg(long, value_name = "URL", conflicts_with = "targets")]
    pub targets_url: Option<String>,
    /// Address of the control door: POST /surge?factor=4&for=20s, DELETE /surge, GET /status
    #[arg(long, default_value = "127.0.0.1:8100")]
    pub listen: SocketAddr,
    /// How the traffic looks
    #[command(flatten)]
    pub settings: LoadSettings,
}

/// How much traffic there is.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadSettings {
    /// Requests a second in the mean of a day
    #[arg(long, default_value_t = 40.0)]
    pub rate: f64,
    /// How far the rate wanders about by itself, as a share; the arrivals are a Poisson process
    /// besides
    #[arg(long, default_value_t = 0.05)]
    pub noise: f64,
    /// How long a day is
    #[arg(long, default_value = "1d", value_parser = duration::parse)]
    pub day: Duration,
    /// How far the busiest hour is above the mean, as a share
    #[arg(long, default_value_t = 0.3)]
    pub amplitude: f64,
    /// When a request is given up
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// How many requests may be under way; what comes on top is dropped, and counted
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

/// Traffic that is under way. Ends with its shutdown.
#[derive(Clone)]
pub struct Load {
    surges: Arc<Surges>,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl Load {
    /// Begins to send to the targets (base URLs, `http://127.0.0.1:8000`), round robin over the
    /// newest list.
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

    /// Multiplies the rate until it is said otherwise; 1 is the usual rate, 0 none.
    pub fn set_factor(&self, factor: f64) {
        self.surges.set(factor, None);
    }

    /// Multiplies the rate for a while.
    pub fn surge(&self, factor: f64, lasts: Duration) {
        self.surges.set(factor, Some(lasts));
    }

    /// What was sent and what came back.
    pub fn status(&self) -> LoadStatus {
        self.counters.status(self.surges.factor())
    }

    /// Returns when the shutdown was asked for and the traffic has ended.
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

/// Sends traffic and serves the control door until the shutdown.
pub async fn run(args: DemoLoadArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}: choose another address with --listen",
            args.listen
        )
    })?;
    serve(listener, args, shutdown).await
}

/// The same with a listener for the control door.
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
    tracing::info!(address = %listener.local_addr()?, rate = args.settings.rate, "demo load is sent");
    let server = axum::serve(listener, control::router(load.clone()));
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.with_graceful_shutdown(shutdown.clone().cancelled_owned()) => ended?,
        () = late => tracing::warn!("connections to the control door that are still open are cut"),
    }
    if let Some(discovery) = discovery {
        discovery.await?;
    }
    load.ended().await;
    Ok(())
}

/// Keeps the list of targets fresh; while it can't be had, the last one counts.
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
                tracing::warn!(%error, "the list of targets can't be had: the last one is kept");
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
