//! Direct scrapes: determines the addresses, and scrapes each of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::ACCEPT;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use anomalyzer_common::secret_url::shown;
use anomalyzer_domain::Labels;
use anomalyzer_http_source::http_sd::{self, Discovered};
use anomalyzer_http_source::{Answer, Bounds, SourceClient};

use super::derive::{SourceKey, Store};
use super::exposition::{self, Exposition, Format};
use super::moment::Moment;
use super::{AccessConfig, CollectConfig, CollectError, ScrapeConfig, ScrapeTargets, SourceError};

/// Maximum number of concurrent scrapes of one job.
const AT_ONCE: usize = 64;

/// Timeout of a request without a timeout of its own.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Formats that a scrape asks for. Both are read. The older text format comes first, because some
/// libraries name counters otherwise in OpenMetrics.
const FORMATS: &str = "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,\
    application/openmetrics-text;version=0.0.1;q=0.3,text/plain;version=1.0.0;q=0.2,*/*;q=0.1";

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
    client: SourceClient,
    bounds: Bounds,
    /// Time that the scrapes of a round may take together.
    round_timeout: Duration,
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
    jobs: Vec<Job>,
}

/// A task that keeps the address list of one job up to date.
pub struct Discoverer {
    url: String,
    client: SourceClient,
    every: Duration,
    sender: watch::Sender<Discovery>,
}

impl Scraper {
    /// Returns the scraper, and the discoverers that must run beside it.
    pub fn new(
        config: &CollectConfig,
        groups: &Groups,
    ) -> Result<(Self, Vec<Discoverer>), CollectError> {
        // Every request has a timeout of its own.
        let mut clients: BTreeMap<Option<PathBuf>, SourceClient> = BTreeMap::new();
        let mut client = |access: AccessConfig| {
            Ok::<_, CollectError>(match clients.entry(access.ca_file.clone()) {
                Entry::Occupied(known) => known.get().with_access(access),
                Entry::Vacant(new) => new.insert(SourceClient::new(access, MAX_TIMEOUT)?).clone(),
            })
        };
        let (mut jobs, mut discoverers) = (Vec::new(), Vec::new());
        for scrape in &config.scrape {
            let addresses = match &scrape.targets {
                ScrapeTargets::Urls(urls) => Addresses::Fixed(
                    urls.iter()
                        .map(|url| address(&scrape.job, &with_path(url.as_str()), []))
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
                    discoverers.push(Discoverer {
                        url: url.as_str().to_owned(),
                        client: client(scrape.discovery.clone())?,
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
                client: client(scrape.access())?,
                bounds,
                round_timeout: timeout.max(config.interval),
                addresses,
            });
        }
        Ok((Self { jobs }, discoverers))
    }

    /// Scrapes every address once. The jobs are scraped at the same time, each for at most its
    /// timeout or the interval, whichever is longer. Slow addresses take the turns of other
    /// addresses of their job only.
    pub async fn round(&self, store: &mut Store) {
        let (mut sources, mut asked, mut failed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for job in &self.jobs {
            let (addresses, failure) = job.addresses();
            let mut of_job = Vec::with_capacity(addresses.len());
            for (url, labels) in addresses {
                let key = SourceKey {
                    job: job.config.job.clone(),
                    url,
                };
                match &failure {
                    None => of_job.push(key.clone()),
                    Some(failure) => failed.push((key.clone(), failure.clone())),
                }
                sources.insert(key, labels);
            }
            asked.push((job, of_job));
        }
        store.watch(sources);
        for (key, failure) in failed {
            store.failed(&key, failure);
        }
        let answers = {
            let store = &*store;
            let of_jobs = asked
                .into_iter()
                .map(|(job, keys)| job.scrape_all(keys, store));
            futures::future::join_all(of_jobs).await
        };
        for (key, answer) in answers.into_iter().flatten() {
            match answer {
                Ok((found, at)) => store.answered(&key, found, at),
                Err(failure) => store.failed(&key, failure),
            }
        }
    }
}

/// Wanted samples of an address, and the time of the answer.
type Scraped = Result<(Exposition, Moment), SourceError>;

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
                    let url = with_path(&endpoint.url);
                    address(job, &url, [("replica", endpoint.replica.as_str())])
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

    /// Scrapes the addresses of the job, within the time of a round. Addresses that failed last
    /// time come last.
    async fn scrape_all(
        &self,
        mut keys: Vec<SourceKey>,
        store: &Store,
    ) -> Vec<(SourceKey, Scraped)> {
        fastrand::shuffle(&mut keys);
        keys.sort_by_key(|key| store.turn(key));
        let deadline = Instant::now() + self.round_timeout;
        let mut scrapes = Vec::with_capacity(keys.len());
        for key in keys {
            scrapes.push(async move {
                if Instant::now() >= deadline {
                    let failure = SourceError::NotAsked {
                        url: shown(&key.url),
                        after: self.round_timeout,
                    };
                    return (key, Err(failure));
                }
                let answer = self.scrape(&key.url, |metric| store.wants(metric));
                let answer = timeout_at(deadline, answer).await.unwrap_or_else(|_| {
                    Err(SourceError::TimedOut {
                        url: shown(&key.url),
                        after: self.round_timeout,
                    })
                });
                (key, answer)
            });
        }
        futures::stream::iter(scrapes)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    /// Scrapes one address.
    async fn scrape(&self, url: &str, wanted: impl Fn(&str) -> bool) -> Scraped {
        let answer = self
            .client
            .page(url, (ACCEPT, FORMATS), "Prometheus metrics", self.bounds)
            .await?;
        let at = Moment::now();
        Ok((read(url, &answer, wanted)?, at))
    }
}

/// Reads the wanted samples of an answer.
fn read(
    url: &str,
    answer: &Answer,
    wanted: impl Fn(&str) -> bool,
) -> Result<Exposition, SourceError> {
    let format = Format::of(&answer.content_type);
    let is_cut = format == Format::Text
        && !answer.whole
        && answer.body.last().is_some_and(|last| *last != b'\n');
    if is_cut {
        return Err(SourceError::CutShort {
            url: shown(url),
            reason: "the last line has no end, and nothing shows that the answer is complete"
                .to_owned(),
        });
    }
    let found = exposition::parse(&answer.body, format, wanted);
    found.map_err(|error| match format {
        Format::OpenMetrics if !answer.body.trim_ascii_end().ends_with(b"# EOF") => {
            SourceError::CutShort {
                url: shown(url),
                reason: error.to_string(),
            }
        }
        _ => SourceError::Malformed {
            url: shown(url),
            reason: error.to_string(),
        },
    })
}

/// Returns the address, at the usual path of metrics if it has no path.
fn with_path(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.path() == "/" => {
            parsed.set_path("/metrics");
            parsed.into()
        }
        // The scrape of an address that can't be parsed fails and reports the reason.
        _ => url.to_owned(),
    }
}

/// Returns the address and its labels. Labels `job` and `instance` from discovery take precedence,
/// as in Prometheus.
fn address<'a>(
    job: &'a str,
    url: &'a str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (String, Labels) {
    let Ok(parsed) = reqwest::Url::parse(url) else {
        // The scrape of this address fails and reports the reason.
        return (
            url.to_owned(),
            Labels::new([("job", job), ("instance", &shown(url))]),
        );
    };
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

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
            let (url, labels) = address("web", &with_path(given), [("pod", "a")]);
            assert_eq!(url, asked);
            assert_eq!(
                labels,
                Labels::new([("job", "web"), ("instance", "127.0.0.1:8000"), ("pod", "a")])
            );
        }
    }

    #[test]
    fn an_answer_without_a_last_newline_is_read_if_it_is_known_to_be_complete() {
        let answer = |content_type: &str, whole: bool, body: &str| Answer {
            status: 200,
            html: false,
            content_type: content_type.to_owned(),
            whole,
            body: body.as_bytes().to_vec(),
        };
        let open = "application/openmetrics-text; version=1.0.0";
        for (content_type, whole, body, outcome) in [
            ("text/plain", true, "m 3", "1"),
            ("text/plain", false, "m 3", "cut_short"),
            ("text/plain", false, "m 3\n", "1"),
            ("text/plain", false, "", "0"),
            (open, false, "m 3\n# EOF", "1"),
            (open, true, "m 3\n", "cut_short"),
            (open, false, "", "0"),
            ("text/plain", true, "{\"m\": 3}", "malformed"),
            (open, true, "\"m\": 3\n# EOF\n", "malformed"),
        ] {
            let answer = answer(content_type, whole, body);
            let read = match read("http://h/metrics", &answer, |_| true) {
                Ok(found) => found.samples.len().to_string(),
                Err(error) => {
                    assert!(error.to_string().contains("http://h/metrics"), "{error}");
                    error.kind().to_owned()
                }
            };
            assert_eq!(read, outcome, "{content_type} {whole} {body}");
        }
    }

    /// Serves one sample to each connection.
    async fn serve_samples(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\nm 3\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn addresses_that_do_not_answer_hold_up_no_other_job_and_their_own_for_few_rounds() {
        // The system accepts connections to it, and nobody reads them.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_address = silent.local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let honest = format!("http://{}/metrics", listener.local_addr().unwrap());
        tokio::spawn(serve_samples(listener));
        let count = AT_ONCE * 3;
        let mut urls: Vec<String> = (0..count)
            .map(|number| format!("'http://{silent_address}/{number}'"))
            .collect();
        urls.push(format!("'{honest}'"));
        let config: CollectConfig = toml::from_str(&format!(
            "interval = '300ms'\n[[scrape]]\njob = 'mixed'\ntargets = {{ urls = [{}] }}\n[[scrape]]\njob = 'other'\ntargets = {{ urls = ['{honest}'] }}",
            urls.join(", ")
        ))
        .unwrap();
        let signal = "name = 's'\nsource = { gauge = { of = 'm' } }\ntarget = { kind = 'Process', name = 'web' }";
        let mut store = Store::new([&toml::from_str(signal).unwrap()]);
        let (scraper, _) = Scraper::new(&config, &Groups::new()).unwrap();
        let failure = |store: &Store, job: &str| {
            let mut of_job = store.sources().filter(|(key, _)| key.job == job);
            let (_, source) = of_job.find(|(key, _)| key.url == honest).unwrap();
            source.failure.as_ref().map(SourceError::kind)
        };
        let mut has_answered = false;
        for round in 1..=12 {
            scraper.round(&mut store).await;
            assert_ne!(
                failure(&store, "other"),
                Some("not_asked"),
                "in round {round}"
            );
            let of_mixed = failure(&store, "mixed");
            // A busy machine may time out. An address that answered is asked in the next round.
            assert!(
                !has_answered || of_mixed != Some("not_asked"),
                "in round {round}"
            );
            let is_again = has_answered && of_mixed.is_none();
            has_answered = of_mixed.is_none();
            let mut failures = store
                .sources()
                .filter_map(|(_, source)| source.failure.as_ref());
            assert!(failures.any(|failure| failure.kind() == "not_asked"));
            if is_again {
                return;
            }
        }
        panic!("the address that answers had no two turns in a row in 12 rounds");
    }
}
