//! Configuration of the metric sources.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_common::secret_url;
use anomalyzer_domain::{ConfigIssue, duration};

use super::{SignalConfig, SignalSource};

/// Configuration of the metric sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectConfig {
    /// Time between two polls of a signal that has no interval of its own. Scrape addresses are
    /// always polled at this interval.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Time after which a target without series is forgotten. A fixed target is never forgotten.
    #[serde(with = "duration")]
    pub forget_after: Duration,
    /// The Prometheus that answers the queries.
    pub prometheus: Option<PrometheusConfig>,
    /// Jobs that are scraped directly.
    pub scrape: Vec<ScrapeConfig>,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            forget_after: Duration::from_secs(3600),
            prometheus: None,
            scrape: Vec::new(),
        }
    }
}

/// A Prometheus, or a server that speaks its HTTP API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Base address, such as `http://127.0.0.1:9090`. It includes the path prefix if Prometheus has
    /// one.
    pub url: HttpUrl,
    /// Time after which a query is given up.
    #[serde(default = "ten_seconds", with = "duration")]
    pub timeout: Duration,
    /// Maximum age of a series' newest sample for it to count as the current value. Defaults to
    /// three intervals of the signal and at least 90 s, because a Prometheus scrapes every minute
    /// by default.
    #[serde(default, with = "duration::option")]
    pub lookback: Option<Duration>,
    /// File with a bearer token. It is read again for each request, so that the token may change.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
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
            body_limit: answer_limit(),
        }
    }

    /// Returns the maximum age of a series' newest sample, for a signal that is queried every
    /// `interval`.
    pub fn lookback(&self, interval: Duration) -> Duration {
        const LEAST: Duration = Duration::from_secs(90);
        self.lookback
            .unwrap_or_else(|| interval.saturating_mul(3).max(LEAST))
    }
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn answer_limit() -> usize {
    64 << 20
}

/// Addresses that are scraped directly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Label `job` of all samples from these addresses.
    pub job: String,
    /// Source of the addresses.
    pub targets: ScrapeTargets,
    /// Time after which a scrape is given up. Defaults to the interval.
    #[serde(default, with = "duration::option")]
    pub timeout: Option<Duration>,
    /// File with a bearer token. It is read again for each request, so that the token may change.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Maximum size of an exposition in bytes.
    #[serde(default = "exposition_limit")]
    pub body_limit: usize,
}

fn exposition_limit() -> usize {
    16 << 20
}

/// Source of the addresses to scrape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScrapeTargets {
    /// A fixed list of addresses. An address without a path is scraped at `/metrics`.
    Urls(Vec<HttpUrl>),
    /// The replicas of a process group of the local operator. Each gets a label `replica`.
    Group(String),
    /// A list in the format of Prometheus's HTTP service discovery, with its labels.
    HttpSd(HttpUrl),
}

/// An absolute `http` or `https` address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(reqwest::Url);

impl HttpUrl {
    /// Returns the address as text, including its credentials.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Shows the address without the credentials that it may hold.
impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::fetch::shown(&self.0))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match reqwest::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => Err(format!(
                "`{}` is not an address: write for example http://127.0.0.1:9090",
                secret_url::shown(&text)
            )),
        }
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.into()
    }
}

/// A collector that cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// A setting, or a signal, that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigIssue),
    /// The local operator has no such process group.
    #[error(
        "the scrape `{job}` wants the process group `{group}`, which the local operator does not have: check the name"
    )]
    NoGroup {
        /// The scrape.
        job: String,
        /// The process group.
        group: String,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

impl CollectConfig {
    /// Checks the intervals, the timeouts and the names of the scrapes.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        not_zero("interval", "collect.interval", Some(self.interval))?;
        if let Some(prometheus) = &self.prometheus {
            let timeout = Some(prometheus.timeout);
            not_zero("timeout", "collect.prometheus.timeout", timeout)
                .and_then(|()| {
                    let lookback = prometheus.lookback;
                    not_zero("lookback", "collect.prometheus.lookback", lookback)
                })
                .map_err(|issue| issue.within("prometheus"))?;
        }
        for (index, scrape) in self.scrape.iter().enumerate() {
            not_zero("timeout", "collect.scrape.timeout", scrape.timeout)
                .map_err(|issue| issue.within(index).within("scrape"))?;
        }
        for (index, scrape) in self.scrape.iter().enumerate() {
            if self.scrape[..index]
                .iter()
                .any(|other| other.job == scrape.job)
            {
                let message = format!(
                    "two entries of `scrape` have the job `{}`: rename one",
                    scrape.job
                );
                return Err(ConfigIssue::at(index, message).within("scrape"));
            }
        }
        Ok(())
    }

    /// Checks that each signal has a source, and enough samples to be derived from. The path of an
    /// issue begins with the index of the signal.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate_signals(&self, signals: &[SignalConfig]) -> Result<(), ConfigIssue> {
        for (index, signal) in signals.iter().enumerate() {
            if signals[..index]
                .iter()
                .any(|other| other.name == signal.name)
            {
                let message = format!("two signals are called `{}`: rename one", signal.name);
                return Err(ConfigIssue::at(index, message));
            }
            self.validate_signal(signal)
                .map_err(|message| ConfigIssue::at(index, message))?;
        }
        Ok(())
    }

    fn validate_signal(&self, signal: &SignalConfig) -> Result<(), String> {
        let name = &signal.name;
        match signal.source {
            SignalSource::Query(_) if self.prometheus.is_none() => {
                return Err(format!(
                    "the signal `{name}` is a query and no Prometheus is configured: add [collect.prometheus] with its `url`"
                ));
            }
            SignalSource::Query(_) => return Ok(()),
            _ if self.scrape.is_empty() => {
                return Err(format!(
                    "the signal `{name}` is derived from scrapes and nothing is scraped: add [[collect.scrape]]"
                ));
            }
            _ => {}
        }
        // With a shorter window there could never be two samples in it.
        if let Some(window) = signal.source.window()
            && window < self.interval * 2
        {
            return Err(format!(
                "the signal `{name}` looks back {} at samples that come every {}: make `window` at least twice that",
                duration::format(window),
                duration::format(self.interval)
            ));
        }
        // With a shorter interval it would be derived more often than there are samples.
        if signal
            .interval
            .is_some_and(|interval| interval < self.interval)
        {
            return Err(format!(
                "the signal `{name}` has a shorter interval than the scrapes that it is derived from: raise it or drop it"
            ));
        }
        Ok(())
    }
}

/// Returns an error if the duration at `key` is zero. `shown` is the whole path, for the message.
fn not_zero(key: &str, shown: &str, duration: Option<Duration>) -> Result<(), ConfigIssue> {
    match duration {
        Some(Duration::ZERO) => Err(ConfigIssue::at(key, format!("`{shown}` must not be 0"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str, source: &str) -> SignalConfig {
        let text = format!(
            "name = '{name}'\nsource = {source}\ntarget = {{ kind = 'Process', name = 'web' }}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let config: CollectConfig = toml::from_str(
            r#"
            interval = "500ms"
            prometheus = { url = "http://127.0.0.1:9090/prometheus", bearer_token_file = "token" }
            [[scrape]]
            job = "web"
            targets = { group = "web" }
            timeout = "2s"
            [[scrape]]
            job = "db"
            targets = { urls = ["http://127.0.0.1:9187"] }
            "#,
        )
        .unwrap();
        let query = signal("a", "{ query = 'up' }");
        let rate = signal("b", "{ rate = { of = 'x', window = '1s' } }");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.validate_signals(&[query, rate]), Ok(()));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_the_remedy() {
        let config = CollectConfig::default();
        let check =
            |signals: &[SignalConfig]| config.validate_signals(signals).unwrap_err().message;
        assert!(check(&[signal("a", "{ query = 'up' }")]).contains("[collect.prometheus]"));
        assert!(check(&[signal("a", "{ gauge = { of = 'x' } }")]).contains("[[collect.scrape]]"));
        let targets = ScrapeTargets::Group("web".to_owned());
        let scrape = ScrapeConfig {
            job: "web".to_owned(),
            targets,
            timeout: None,
            bearer_token_file: None,
            body_limit: 1,
        };
        let config = CollectConfig {
            scrape: vec![scrape],
            ..config
        };
        let check =
            |signals: &[SignalConfig]| config.validate_signals(signals).unwrap_err().message;
        assert!(
            check(&[signal("a", "{ rate = { of = 'x', window = '20s' } }")])
                .contains("at least twice")
        );
        let gauge = signal("a", "{ gauge = { of = 'x' } }");
        assert!(check(&[gauge.clone(), gauge]).contains("two signals are called `a`"));
    }

    #[test]
    fn a_value_counts_for_three_intervals_and_for_a_minute_and_a_half_at_least() {
        let url = HttpUrl::try_from("http://127.0.0.1:9090".to_owned()).unwrap();
        let usual = PrometheusConfig::at(url);
        let seconds = Duration::from_secs;
        assert_eq!(usual.lookback(seconds(15)), seconds(90));
        assert_eq!(usual.lookback(seconds(60)), seconds(180));
        let told = PrometheusConfig {
            lookback: Some(seconds(2)),
            ..usual
        };
        assert_eq!(told.lookback(seconds(60)), seconds(2));
    }

    #[test]
    fn an_address_without_a_scheme_is_refused_and_credentials_are_not_shown() {
        for text in ["127.0.0.1:9090", "ftp://host", "", "http://"] {
            assert!(HttpUrl::try_from(text.to_owned()).is_err(), "{text}");
        }
        let url = HttpUrl::try_from("http://user:secret@host/path?token=1".to_owned()).unwrap();
        assert_eq!(format!("{url:?}"), "http://host/path");
    }
}
