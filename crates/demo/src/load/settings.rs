//! Settings of the traffic.

use std::time::Duration;

use anomalyzer_domain::duration;

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
