//! Configuration of the client of a Prometheus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

use crate::access::{AccessConfig, BasicAuth, Secret};
use crate::http_url::HttpUrl;

/// A Prometheus, or a server that speaks its HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Base address, such as `http://127.0.0.1:9090`, with the path prefix if there is one.
    pub url: HttpUrl,
    /// Time after which a query is given up.
    #[serde(default = "ten_seconds", with = "duration")]
    pub timeout: Duration,
    /// Maximum age of a series' newest sample for it to count as the current value. Defaults to
    /// three intervals of the signal and at least six minutes. Prometheus itself takes five
    /// minutes; a series that is scraped every five minutes would then end whenever a scrape is
    /// late.
    #[serde(default, with = "duration::option")]
    pub lookback: Option<Duration>,
    /// File with a bearer token. It is read again for each request, so that the token may change.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Headers of each request, such as `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Name and password of basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// File with the authorities (PEM) to trust instead of those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Maximum size of an answer in bytes.
    #[serde(default = "answer_limit")]
    pub body_limit: usize,
}

impl PrometheusConfig {
    /// Returns a configuration for the Prometheus at `url`, with defaults for everything else.
    pub fn at(url: HttpUrl) -> Self {
        Self {
            url,
            timeout: ten_seconds(),
            lookback: None,
            bearer_token_file: None,
            headers: BTreeMap::new(),
            basic_auth: None,
            ca_file: None,
            body_limit: answer_limit(),
        }
    }

    /// Returns the credentials of the queries.
    pub fn access(&self) -> AccessConfig {
        AccessConfig {
            headers: self.headers.clone(),
            basic_auth: self.basic_auth.clone(),
            bearer_token_file: self.bearer_token_file.clone(),
            ca_file: self.ca_file.clone(),
        }
    }

    /// Returns the maximum age of a series' newest sample, for a signal that is queried every
    /// `interval`.
    pub fn lookback(&self, interval: Duration) -> Duration {
        self.lookback
            .unwrap_or_else(|| interval.saturating_mul(3).max(MIN_LOOKBACK))
    }
}

/// Shortest default of [`PrometheusConfig::lookback`].
const MIN_LOOKBACK: Duration = Duration::from_secs(6 * 60);

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn answer_limit() -> usize {
    64 << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_three_intervals_and_for_six_minutes_at_least() {
        let url = HttpUrl::try_from("http://127.0.0.1:9090".to_owned()).unwrap();
        let usual = PrometheusConfig::at(url);
        let seconds = Duration::from_secs;
        assert_eq!(usual.lookback(seconds(15)), seconds(360));
        assert_eq!(usual.lookback(seconds(300)), seconds(900));
        let told = PrometheusConfig {
            lookback: Some(seconds(2)),
            ..usual
        };
        assert_eq!(told.lookback(seconds(60)), seconds(2));
    }
}
