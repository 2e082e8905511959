//! Direct scrapes: determines the addresses, and scrapes each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::ACCEPT;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use anomalyzer_common::http_client;
use anomalyzer_domain::Labels;

use super::derive::{SourceKey, Store};
use super::exposition::Exposed;
use super::fetch::{Bounds, shown_text};
use super::http_sd::Discovered;
use super::moment::Moment;
use super::{
    CollectConfig, CollectError, ScrapeConfig, ScrapeTargets, SourceError, exposition, fetch,
    http_sd,
};

/// Maximum number of concurrent scrapes.
const AT_ONCE: usize = 64;

/// A replica of a process group of the local operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Label `replica`.
    pub replica: String,
    /// Address to scrape. An address without a path is scraped at `/metrics`.
    pub url: String,
}

/// The process groups of the local operator, by name.
pub type Groups = BTreeMap<String, watch::Receiver<Vec<Endpoint>>>;

/// The addresses of one job.
struct Job {
    config: ScrapeConfig,
    bounds: Bounds,
    addresses: Addresses,
}

enum Addresses {
    Fixed(BTreeMap<String, Labels>),
    Group(watch::Receiver<Vec<Endpoint>>),
    Discovered(watch::Receiver<Discovery>),
}

/// Current result of discovery.
#[derive(Clone, Debug, Default)]
struct Discovery {
    found: Vec<Discovered>,
    failure: Option<SourceError>,
}

/// Scraper of the addresses of all jobs.
pub struct Scraper {
    client: reqwest::Client,
    jobs: Vec<Job>,
}

/// A task that keeps the address list of one job up to date.
pub struct Discoverer {
    url: String,
    client: reqwest::Client,
    every: Duration,
    sender: watch::Sender<Discovery>,
}

impl Scraper {
    /// Returns the scraper, and the discoverers that must run beside it.
    pub fn new(
        config: &CollectConfig,
        groups: &Groups,
    ) -> Result<(Self, Vec<Discoverer>), CollectError> {
        // Every request has the time-out of its job.
        let client = http_client::client(Duration::from_secs(60));
        let client = client.map_err(|error| CollectError::Client(http_client::reason(error)))?;
        let (mut jobs, mut discoverers) = (Vec::new(), Vec::new());
        for scrape in &config.scrape {
            let addresses = match &scrape.targets {
                ScrapeTargets::Urls(urls) => Addresses::Fixed(
                    urls.iter()
                        .map(|url| address(&scrape.job, url.as_str(), []))
                        .collect(),
                ),
                ScrapeTargets::Group(group) => {
                    let endpoints =
                        groups
                            .get(group)
                            .cloned()
                            .ok_or_else(|| CollectError::NoGroup {
                                job: scrape.job.clone(),
                                group: group.clone(),
                            })?;
                    Addresses::Group(endpoints)
                }
                ScrapeTargets::HttpSd(url) => {
                    let (sender, receiver) = watch::channel(Discovery::default());
                    let every = config
                        .interval
                        .clamp(Duration::from_secs(1), Duration::from_secs(30));
                    let (url, client) = (url.as_str().to_owned(), client.clone());
                    discoverers.push(Discoverer {
                        url,
                        client,
                        every,
                        sender,
                    });
                    Addresses::Discovered(receiver)
                }
            };
            let timeout = scrape.timeout.unwrap_or(config.interval);
            let bounds = Bounds {
                timeout,
                body_limit: scrape.body_limit,
            };
            jobs.push(Job {
                config: scrape.clone(),
                bounds,
                addresses,
            });
        }
        Ok((Self { client, jobs }, discoverers))
    }

    /// Scrapes every address once.
    pub async fn round(&self, store: &mut Store) {
        let (mut sources, mut asked, mut failed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for job in &self.jobs {
            let (addresses, failure) = job.addresses();
            for (url, labels) in addresses {
                let key = SourceKey {
                    job: job.config.job.clone(),
                    url,
                };
                match &failure {
                    None => asked.push((job, key.clone())),
                    Some(failure) => failed.push((key.clone(), failure.clone())),
                }
                sources.insert(key, labels);
            }
        }
        store.watch(sources);
        for (key, failure) in failed {
            store.failed(&key, failure);
        }
        let answers = {
            let store = &*store;
            let mut scrapes = Vec::with_capacity(asked.len());
            for (job, key) in asked {
                scrapes.push(async move {
                    let answer = job
                        .scrape(&self.client, &key.url, |metric| store.wants(metric))
                        .await;
                    (key, answer)
                });
            }
            futures::stream::iter(scrapes)
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await
        };
        for (key, answer) in answers {
            match answer {
                Ok((samples, at)) => store.answered(&key, samples, at),
                Err(failure) => store.failed(&key, failure),
            }
        }
    }
}

impl Job {
    /// Returns the addresses to scrape now, with their labels. If it returns a failure, discovery
    /// has no list of addresses and nothing is scraped. The address of the discovery then stands
    /// for the missing ones.
    fn addresses(&self) -> (BTreeMap<String, Labels>, Option<SourceError>) {
        let job = &self.config.job;
        match &self.addresses {
            Addresses::Fixed(addresses) => (addresses.clone(), None),
            Addresses::Group(endpoints) => {
                let endpoints = endpoints.borrow();
                let replica = |endpoint: &Endpoint| {
                    address(job, &endpoint.url, [("replica", endpoint.replica.as_str())])
                };
                (endpoints.iter().map(replica).collect(), None)
            }
            Addresses::Discovered(discovery) => {
                let Discovery { found, failure } = discovery.borrow().clone();
                if let (true, Some(failure), ScrapeTargets::HttpSd(url)) =
                    (found.is_empty(), failure, &self.config.targets)
                {
                    let stand_in = (url.as_str().to_owned(), Labels::new([("job", job)]));
                    return ([stand_in].into(), Some(failure));
                }
                let labelled = |found: &Discovered| {
                    let labels = found
                        .labels
                        .iter()
                        .filter(|(name, _)| !name.starts_with("__"));
                    address(
                        job,
                        &found.metrics_url(),
                        labels.map(|(name, value)| (name.as_str(), value.as_str())),
                    )
                };
                (found.iter().map(labelled).collect(), None)
            }
        }
    }

    /// Returns the wanted samples of one address, and the time of the answer.
    async fn scrape(
        &self,
        client: &reqwest::Client,
        url: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Vec<Exposed>, Moment), SourceError> {
        let request = client.get(url).header(ACCEPT, "text/plain;version=0.0.4");
        let request = fetch::authorize(request, self.config.bearer_token_file.as_deref()).await?;
        let body = fetch::get(client, request, url, "Prometheus metrics", self.bounds).await?;
        let at = Moment::now();
        let samples = exposition::parse(&body, wanted).map_err(|error| SourceError::Malformed {
            url: shown_text(url),
            reason: error.to_string(),
        })?;
        Ok((samples, at))
    }
}

/// Returns the address with its path, and its labels. Labels `job` and `instance` from discovery
/// take precedence, as in Prometheus.
fn address<'a>(
    job: &'a str,
    url: &'a str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (String, Labels) {
    let Ok(mut parsed) = reqwest::Url::parse(url) else {
        // The scrape of this address fails and reports the reason.
        return (
            url.to_owned(),
            Labels::new([("job", job), ("instance", url)]),
        );
    };
    if parsed.path() == "/" {
        parsed.set_path("/metrics");
    }
    let port = parsed
        .port_or_known_default()
        .map_or(String::new(), |port| format!(":{port}"));
    let instance = format!("{}{port}", parsed.host_str().unwrap_or_default());
    let labels = labels
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()));
    let labels = Labels::new(
        [("job", job.to_owned()), ("instance", instance)]
            .into_iter()
            .chain(labels),
    );
    (parsed.into(), labels)
}

impl Discoverer {
    /// Fetches the list of addresses repeatedly until the shutdown. If a fetch fails, the last list
    /// stays valid.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let answer = tokio::select! {
                answer = http_sd::fetch(&self.client, &self.url) => answer,
                () = shutdown.cancelled() => return,
            };
            self.sender.send_modify(|discovery| match answer {
                Ok(found) => *discovery = Discovery { found, failure: None },
                Err(error) => {
                    if discovery.failure.is_none() {
                        tracing::warn!(%error, "cannot fetch the address list, keeping the last one");
                    }
                    discovery.failure = Some(error);
                }
            });
            if tokio::time::timeout(self.every, shutdown.cancelled())
                .await
                .is_ok()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_asked_for_its_metrics() {
        for (given, asked) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/metrics"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/metrics"),
            (
                "http://127.0.0.1:8000/own?x=1",
                "http://127.0.0.1:8000/own?x=1",
            ),
        ] {
            let (url, labels) = address("web", given, [("pod", "a")]);
            assert_eq!(url, asked);
            assert_eq!(
                labels,
                Labels::new([("job", "web"), ("instance", "127.0.0.1:8000"), ("pod", "a")])
            );
        }
    }
}
