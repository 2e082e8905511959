//! A service under test, and the samples that a test sends it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anomalyzer_bus::Bus;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Decision, Incident, MetricBatch, Target, Topic, millis, testing};
use anomalyzer_history::{Filter, Page};
use anomalyzer_service::{Service, config};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::receiver::Receiver;
use crate::scale::{SLACK, seconds, text};
use crate::wait::until;

/// Seconds between two samples of a signal.
pub const INTERVAL: u64 = 5;

/// Returns the configuration of all experiments: the defaults of the product at the scale.
pub fn base(folder: &Path) -> String {
    format!(
        "data_dir = '{}'\nsilent_after = {}\n\
         [api]\nlisten = '127.0.0.1:0'\nengine_listen = '127.0.0.1:0'\n[plugins]\nfolder = '{}'\n\
         [incidents]\nconfirm_after = {}\nquiet_for = {}\nreaffirm_within = {}\n\
         [verify]\nsettle = {}\nobserve = {}\nobserve_at_most = {}\necho = {}\nscale_back_after = {}\n\
         [diagnose]\nsolution_lifetime = {}\n",
        folder.display(),
        text(600),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
        text(30),
        text(60),
        text(300),
        text(60),
        text(120),
        text(1800),
        text(420),
        text(900),
        text(300),
    )
}

/// Returns `[guard]` with the defaults of the product at the scale.
pub fn guard(mode: &str) -> String {
    format!(
        "[guard]\nmode = '{mode}'\ncooldown = {}\napprove_within = {}\nmax_sample_age = {}\n",
        text(300),
        text(1800),
        text(120)
    )
}

/// Returns a signal of the Deployment `shop/web` whose samples the test sends.
pub fn sent_signal(name: &str) -> String {
    format!(
        "[[signal]]\nname = '{name}'\nmeaning = '{name}'\ntarget = {{ namespace = 'shop', kind = 'Deployment', name = 'web' }}\n\
         source = {{ gauge = {{ of = 'nothing' }} }}\n\
         detectors = [{{ name = 'zscore', settings = {{ spike = 8.0, drop = 1000.0, clear_samples = 2 }} }}]\n"
    )
}

/// Returns a scrape that finds nothing, for signals whose samples the test sends.
pub fn no_scrape() -> String {
    "[collect]\ninterval = '1h'\n[[collect.scrape]]\njob = 'none'\ntargets = { urls = ['http://127.0.0.1:9/'] }\n"
        .to_owned()
}

/// Returns a channel that sends all notices to `people`.
pub fn channel(name: &str, people: &Receiver) -> String {
    format!(
        "[notify.channels.{name}]\ntype = 'webhook'\nurl = '{}'\ndefault = true\n",
        people.url(&format!("/{name}"))
    )
}

/// All parts in one process. They stop when dropped.
pub struct Running {
    pub service: Service,
    pub shutdown: CancellationToken,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    /// Starts a service with the base configuration and `more`.
    pub async fn start(folder: TempDir, more: &str) -> Self {
        let text = format!("{}{more}", base(folder.path()));
        let config = config::parse("trouble.toml".as_ref(), &text);
        let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let shutdown = CancellationToken::new();
        let service = Service::builder(config).start(shutdown.clone()).await;
        Self {
            service: service.unwrap().unwrap(),
            shutdown,
            _folder: folder,
        }
    }

    /// Returns all decisions, newest first.
    pub async fn decisions(&self) -> Vec<Decision> {
        let history = self.service.history().unwrap();
        let all = Filter::default();
        history.decisions(&all, Page::default()).await.unwrap().0
    }

    pub async fn incidents(&self) -> Vec<Incident> {
        self.service
            .history()
            .unwrap()
            .all_incidents()
            .await
            .unwrap()
    }

    /// Waits for the newest decision that `is` accepts.
    pub async fn decision(&self, what: &str, is: impl Fn(&Decision) -> bool) -> Decision {
        until(what, 20 * seconds(60) + SLACK, async || {
            self.decisions().await.into_iter().find(&is)
        })
        .await
    }

    /// Waits until the detectors have seen `samples` of each signal.
    pub async fn seen(&self, samples: u64) {
        until("the samples are seen", seconds(3600) + SLACK, async || {
            let signals = self.service.detection();
            let all = signals.values().all(|signal| signal.samples >= samples);
            (!signals.is_empty() && all).then_some(())
        })
        .await;
    }
}

/// Sends samples of a target at the interval until it is dropped.
pub struct Feed {
    values: Arc<Mutex<BTreeMap<&'static str, f64>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// Sends five minutes of the past at once, and the present from now on.
    pub async fn start(
        bus: Arc<dyn Bus>,
        target: Target,
        values: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> Self {
        let values: Arc<Mutex<BTreeMap<_, _>>> = Arc::new(Mutex::new(values.into_iter().collect()));
        let (interval, now) = (seconds(INTERVAL), now_ms());
        for past in (1..=60).rev() {
            send(&*bus, &target, &values, now - past * millis(interval)).await;
        }
        let sent = Arc::clone(&values);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(20)));
            loop {
                ticks.tick().await;
                send(&*bus, &target, &sent, now_ms()).await;
            }
        });
        Self { values, task }
    }

    /// Sets the value of a signal from now on.
    pub fn set(&self, signal: &'static str, value: f64) {
        self.values.lock().insert(signal, value);
    }
}

async fn send(
    bus: &dyn Bus,
    target: &Target,
    values: &Mutex<BTreeMap<&'static str, f64>>,
    at: i64,
) {
    let values = values.lock().clone();
    for (signal, value) in values {
        let value = value * (0.98 + 0.04 * fastrand::f64());
        let batch = MetricBatch {
            target: Some(target.clone()),
            ..testing::batch(signal, at, value)
        };
        // A bus that is away is part of some experiments.
        let _sent = bus
            .publish(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
            .await;
    }
}
