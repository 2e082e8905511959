//! Arguments of `anomalyzer demo-load`.

use std::net::SocketAddr;

use super::settings::LoadSettings;

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
