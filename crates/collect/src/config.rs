//! Configuration of the metric sources.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::{ConfigIssue, duration};
use anomalyzer_http_source::{AccessConfig, BasicAuth, HttpUrl, PrometheusConfig, Secret};

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
    /// Maximum number of series of one signal that one source may bring. Further series are counted
    /// and left out.
    pub series_limit: usize,
    /// Maximum number of series of one signal. Further series are counted and left out.
    pub signal_series_limit: usize,
    /// Maximum number of targets of one signal. Further targets are counted and left out.
    pub signal_target_limit: usize,
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
            series_limit: 10_000,
            signal_series_limit: 50_000,
            signal_target_limit: 20_000,
            prometheus: None,
            scrape: Vec::new(),
        }
    }
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
    /// Headers of each request, such as `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Name and password of basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// File with the authorities (PEM) to trust instead of those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Access to the server of `http_sd`. The scrapes use the settings above.
    #[serde(default)]
    pub discovery: AccessConfig,
    /// Maximum size of an exposition in bytes.
    #[serde(default = "exposition_limit")]
    pub body_limit: usize,
}

impl ScrapeConfig {
    /// Returns the credentials of the scrapes.
    pub fn access(&self) -> AccessConfig {
        AccessConfig {
            headers: self.headers.clone(),
            basic_auth: self.basic_auth.clone(),
            bearer_token_file: self.bearer_token_file.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
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

impl CollectConfig {
    /// Checks the intervals, the timeouts and the names of the scrapes.
    ///
    /// # Errors
    /// Returns the first issue.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        not_zero("interval", "collect.interval", Some(self.interval))?;
        let limits = [
            ("series_limit", self.series_limit),
            ("signal_series_limit", self.signal_series_limit),
            ("signal_target_limit", self.signal_target_limit),
        ];
        if let Some((key, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return Err(ConfigIssue::at(
                *key,
                format!("`collect.{key}` must not be 0"),
            ));
        }
        if let Some(prometheus) = &self.prometheus {
            let timeout = Some(prometheus.timeout);
            not_zero("timeout", "collect.prometheus.timeout", timeout)
                .and_then(|()| {
                    let lookback = prometheus.lookback;
                    not_zero("lookback", "collect.prometheus.lookback", lookback)
                })
                .and_then(|()| prometheus.access().validate())
                .map_err(|issue| issue.within("prometheus"))?;
        }
        for (index, scrape) in self.scrape.iter().enumerate() {
            not_zero("timeout", "collect.scrape.timeout", scrape.timeout)
                .and_then(|()| scrape.access().validate())
                .and_then(|()| {
                    let issue = scrape.discovery.validate();
                    issue.map_err(|issue| issue.within("discovery"))
                })
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

    /// Returns every secret of the sources.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        let prometheus = self
            .prometheus
            .iter_mut()
            .map(|prometheus| (&mut prometheus.headers, &mut prometheus.basic_auth));
        let scrapes = self.scrape.iter_mut().flat_map(|scrape| {
            let AccessConfig {
                headers,
                basic_auth,
                ..
            } = &mut scrape.discovery;
            [
                (&mut scrape.headers, &mut scrape.basic_auth),
                (headers, basic_auth),
            ]
        });
        prometheus.chain(scrapes).flat_map(|(headers, basic)| {
            let password = basic.iter_mut().map(|basic| &mut basic.password);
            headers.values_mut().chain(password)
        })
    }

    /// Returns the files that the sources need: secrets and certificates.
    pub fn files(&self) -> Vec<PathBuf> {
        let prometheus = self.prometheus.iter().map(PrometheusConfig::access);
        let scrapes = self
            .scrape
            .iter()
            .flat_map(|scrape| [scrape.access(), scrape.discovery.clone()]);
        let all = prometheus.chain(scrapes);
        all.flat_map(|access| access.files().cloned().collect::<Vec<_>>())
            .collect()
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
            headers = { X-Scope-OrgID = "team-a", X-Key = { env = "KEY" } }
            basic_auth = { username = "u", password = { file = "password" } }
            ca_file = "ca.pem"
            [scrape.discovery]
            bearer_token_file = "discovery-token"
            "#,
        )
        .unwrap();
        let query = signal("a", "{ query = 'up' }");
        let rate = signal("b", "{ rate = { of = 'x', window = '1s' } }");
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.files().len(), 4);
        assert_eq!(config.clone().secrets_mut().count(), 3);
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
            headers: BTreeMap::new(),
            basic_auth: None,
            ca_file: None,
            discovery: AccessConfig::default(),
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
}
