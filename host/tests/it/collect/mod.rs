//! Tests of collecting over real sockets.

mod demo;
mod differential;
mod prometheus;
mod real_prometheus;
mod scrape;

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anomalyzer_collect::{
    CollectConfig, Collector, Groups, SignalConfig, SignalStatus, Sink, SinkError, StatusBoard,
};
use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_domain::{Coverage, MetricBatch};
use async_trait::async_trait;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Next answer of a server.
#[derive(Clone, Debug)]
enum Says {
    /// Status 200 with the given text.
    Text(String),
    /// Status 200 with HTML.
    Html,
    /// The given status with the given text.
    Status(u16, &'static str),
    /// Status 200 with the beginning of an answer, then the end of the connection.
    Half(&'static str),
    /// No answer, ever.
    Nothing,
}

fn text(text: &str) -> Says {
    Says::Text(text.to_owned())
}

/// Server that gives every request the same answer. Tests can change the answer.
struct Server {
    url: String,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<u32>>,
    _ends: DropGuard,
}

impl Server {
    async fn start(says: Says) -> Self {
        let says = Arc::new(Mutex::new(says));
        let asked = Arc::new(Mutex::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let (shared, count) = (says.clone(), asked.clone());
        let router = Router::new().fallback(get(async move || {
            *count.lock() += 1;
            let says = shared.lock().clone();
            answer(says).await
        }));
        let ends = shutdown.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(listener, router) => served.unwrap(),
                () = shutdown.cancelled() => {}
            }
        });
        Self {
            url,
            says,
            asked,
            _ends: ends,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock() = says;
    }

    fn asked(&self) -> u32 {
        *self.asked.lock()
    }
}

async fn answer(says: Says) -> Response {
    match says {
        Says::Text(text) => text.into_response(),
        Says::Html => {
            ([(header::CONTENT_TYPE, "text/html")], "<html>Log in</html>").into_response()
        }
        Says::Status(status, text) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Says::Half(text) => {
            let breaks = async {
                // Let the first half be sent before the connection breaks.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("broken off"))
            };
            let halves =
                futures::stream::once(async move { Ok(text) }).chain(futures::stream::once(breaks));
            axum::body::Body::from_stream(halves).into_response()
        }
        Says::Nothing => std::future::pending().await,
    }
}

/// Returns an address at which nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Sink that keeps the batches that it receives. Each batch takes one permit.
struct Kept {
    batches: Mutex<Vec<MetricBatch>>,
    permits: Semaphore,
}

#[async_trait]
impl Sink for Kept {
    async fn send(&self, batch: MetricBatch) -> Result<(), SinkError> {
        self.permits.acquire().await.unwrap().forget();
        self.batches.lock().push(batch);
        Ok(())
    }
}

/// Running collector. It stops when dropped.
struct Running {
    kept: Arc<Kept>,
    board: StatusBoard,
    blind_spots: BlindSpots,
    _ends: DropGuard,
}

/// Starts a collector. `collect` is its configuration in TOML, and `signals` is TOML with tables
/// `[[signal]]`.
fn start(collect: &str, signals: &str, groups: &Groups) -> Running {
    start_with(collect, signals, groups, Semaphore::MAX_PERMITS)
}

fn start_with(collect: &str, signals: &str, groups: &Groups, permits: usize) -> Running {
    let config: CollectConfig = toml::from_str(collect).unwrap();
    let kept = Arc::new(Kept {
        batches: Mutex::default(),
        permits: Semaphore::new(permits),
    });
    let blind_spots = BlindSpots::default();
    let collector = Collector::new(config, read_signals(signals), groups, kept.clone())
        .unwrap()
        .with_blind_spots(blind_spots.clone());
    let board = collector.status();
    let shutdown = CancellationToken::new();
    let ends = shutdown.clone().drop_guard();
    tokio::spawn(collector.run(shutdown));
    Running {
        kept,
        board,
        blind_spots,
        _ends: ends,
    }
}

fn read_signals(text: &str) -> Vec<SignalConfig> {
    let table: toml::Table = toml::from_str(text).unwrap();
    table["signal"].clone().try_into().unwrap()
}

impl Running {
    /// Waits up to 20 seconds for a new batch that `fits` accepts, and returns the first one.
    async fn batch(&self, what: &str, fits: impl Fn(&MetricBatch) -> bool) -> MetricBatch {
        let mut seen = self.kept.batches.lock().len();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(batch) = self.kept.batches.lock()[seen..]
                .iter()
                .find(|batch| fits(batch))
            {
                return batch.clone();
            }
            if Instant::now() > deadline {
                panic!(
                    "no batch with {what}; the last one: {:?}",
                    self.kept.batches.lock().last()
                );
            }
            seen = seen.min(self.kept.batches.lock().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits up to 20 seconds for the status of a signal that `fits` accepts, and returns the
    /// status.
    async fn status(&self, what: &str, fits: impl Fn(&SignalStatus) -> bool) -> SignalStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let all = self.board.all();
            if let Some(status) = all.iter().find(|status| fits(status)) {
                return status.clone();
            }
            assert!(Instant::now() < deadline, "no status with {what}: {all:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn coverage(asked: u32, answered: u32, failed: u32) -> Coverage {
    Coverage {
        asked,
        answered,
        failed,
    }
}

/// Returns the values of a batch, without stale markers.
fn values(batch: &MetricBatch) -> Vec<f64> {
    let samples = batch.series.iter().flat_map(|series| &series.samples);
    samples
        .filter(|sample| !sample.is_stale_marker())
        .map(|sample| sample.value)
        .collect()
}

/// Returns the labels of the series that a batch closes.
fn closed(batch: &MetricBatch) -> Vec<String> {
    let closed = batch
        .series
        .iter()
        .filter(|series| series.samples.iter().any(|sample| sample.is_stale_marker()));
    closed.map(|series| series.labels.to_string()).collect()
}
