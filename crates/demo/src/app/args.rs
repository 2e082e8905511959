//! Arguments of `anomalyzer demo-app`.

use std::net::SocketAddr;
use std::time::Duration;

use anomalyzer_domain::duration;

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
