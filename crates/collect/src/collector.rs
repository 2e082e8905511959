//! Runs the collection rounds: asks the sources, makes batches and delivers them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{Coverage, UnixMs, millis};

use super::derive::{Memory, Store, evaluate, unusable_lines};
use super::fetch::shown_text;
use super::prometheus::Prometheus;
use super::publisher::{Publisher, Sink};
use super::query::ask;
use super::round::{Answer, BatchBuilder};
use super::scrape::{Discoverer, Groups, Scraper};
use super::status::StatusBoard;
use super::{CollectConfig, CollectError, SignalConfig, SignalSource};

/// Maximum number of concurrent queries.
const QUERIES_AT_ONCE: usize = 8;

/// Maximum number of notes kept for a signal.
const MAX_NOTES: usize = 10;

/// Collector that asks all sources until the shutdown.
pub struct Collector {
    config: CollectConfig,
    signals: Vec<SignalConfig>,
    sink: Arc<dyn Sink>,
    prometheus: Option<Arc<Prometheus>>,
    scraper: Scraper,
    discoverers: Vec<Discoverer>,
    board: StatusBoard,
}

/// A signal, and the state of its publication.
struct Watched {
    signal: SignalConfig,
    ledger: BatchBuilder,
    memory: Memory,
    due: UnixMs,
}

impl Watched {
    fn new(signal: SignalConfig) -> Self {
        Self {
            signal,
            ledger: BatchBuilder::default(),
            memory: Memory::default(),
            due: UnixMs::MIN,
        }
    }
}

impl Collector {
    /// Checks that the configuration and the signals fit together, and sets up the clients. Sends
    /// no request yet.
    pub fn new(
        config: CollectConfig,
        signals: Vec<SignalConfig>,
        groups: &Groups,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, CollectError> {
        config.validate()?;
        config.validate_signals(&signals)?;
        let prometheus = config
            .prometheus
            .clone()
            .map(Prometheus::new)
            .transpose()?
            .map(Arc::new);
        let (scraper, discoverers) = Scraper::new(&config, groups)?;
        let board = StatusBoard::new(&signals);
        Ok(Self {
            config,
            signals,
            sink,
            prometheus,
            scraper,
            discoverers,
            board,
        })
    }

    /// Reports the status of each signal on `board`. A collector that replaces another one on the
    /// same signals takes over the board of its predecessor.
    #[must_use]
    pub fn with_status(mut self, board: StatusBoard) -> Self {
        self.board = board;
        self
    }

    /// Returns the board with the status of each signal. The board stays current while the
    /// collector runs.
    pub fn status(&self) -> StatusBoard {
        self.board.clone()
    }

    /// Asks the sources until the shutdown. Answers received by then are still delivered, for a few
    /// seconds.
    ///
    /// # Errors
    /// Returns an error if a round panicked. No source is asked any more then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), JoinError> {
        let mut tasks = JoinSet::new();
        for discoverer in self.discoverers {
            tasks.spawn(discoverer.run(shutdown.clone()));
        }
        let rounds = || Rounds {
            outbox: Publisher::new(self.sink.clone(), shutdown.clone()),
            board: self.board.clone(),
            forget_after: millis(self.config.forget_after),
            shutdown: shutdown.clone(),
        };
        let mut queries: BTreeMap<Duration, Vec<Watched>> = BTreeMap::new();
        let mut derived = Vec::new();
        for signal in self.signals {
            match signal.source {
                SignalSource::Query(_) => {
                    let interval = signal.interval.unwrap_or(self.config.interval);
                    queries
                        .entry(interval)
                        .or_default()
                        .push(Watched::new(signal));
                }
                _ => derived.push(Watched::new(signal)),
            }
        }
        for (interval, watched) in queries {
            if let Some(prometheus) = self.prometheus.clone() {
                tasks.spawn(rounds().query(prometheus, interval, watched));
            }
        }
        for watched in &mut derived {
            watched.memory = Memory::new(self.config.series_limit, self.config.forget_after);
        }
        if !derived.is_empty() {
            tasks.spawn(rounds().scrape(self.scraper, self.config.interval, derived));
        }
        if tasks.is_empty() {
            // There is no source to ask. Other programs may write samples to the topic.
            shutdown.cancelled().await;
        }
        // When the first task fails, the other tasks end too. The caller starts all of them again
        // together.
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// State that every kind of round needs.
struct Rounds {
    outbox: Publisher,
    board: StatusBoard,
    forget_after: i64,
    shutdown: CancellationToken,
}

impl Rounds {
    /// Waits for the next round and returns its time. Returns `None` at the shutdown.
    async fn next_round(&self, ticks: &mut Interval) -> Option<UnixMs> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            _ = ticks.tick() => Some(now_ms()),
        }
    }

    async fn query(
        mut self,
        prometheus: Arc<Prometheus>,
        interval: Duration,
        mut watched: Vec<Watched>,
    ) {
        let mut ticks = ticks(interval);
        // All signals of a round share one timestamp, so that they can be compared with each other.
        while let Some(at) = self.next_round(&mut ticks).await {
            let mut questions = Vec::with_capacity(watched.len());
            for watched in &watched {
                questions.push(ask(&prometheus, &watched.signal, at, interval));
            }
            let answers = futures::stream::iter(questions)
                .buffered(QUERIES_AT_ONCE)
                .collect::<Vec<_>>();
            let answers = tokio::select! {
                answers = answers => answers,
                () = self.shutdown.cancelled() => return,
            };
            for (watched, (answer, warnings)) in watched.iter_mut().zip(answers) {
                self.publish(watched, at, answer, warnings).await;
            }
        }
    }

    async fn scrape(mut self, scraper: Scraper, interval: Duration, mut derived: Vec<Watched>) {
        let mut store = Store::new(derived.iter().map(|watched| &watched.signal));
        let mut ticks = ticks(interval);
        while let Some(at) = self.next_round(&mut ticks).await {
            tokio::select! {
                () = scraper.round(&mut store) => {}
                () = self.shutdown.cancelled() => return,
            }
            let answered_at = now_ms();
            for watched in &mut derived {
                let own = watched.signal.interval.unwrap_or(interval);
                // Half a tick early counts as on time, because ticks are not exact to the
                // millisecond.
                if at.saturating_add(millis(interval) / 2) < watched.due {
                    continue;
                }
                watched.due = at.saturating_add(millis(own));
                let answer = evaluate(&watched.signal, &store, &mut watched.memory, answered_at);
                let notes = notes(&store, watched);
                self.publish(watched, at, answer, notes).await;
            }
        }
    }

    async fn publish(
        &mut self,
        watched: &mut Watched,
        at: UnixMs,
        answer: Answer,
        mut notes: Vec<String>,
    ) {
        let Watched { signal, ledger, .. } = watched;
        if answer.unattributed > 0 {
            notes.push(format!(
                "{} series have no target: they lack a label out of {:?}, or its value makes no name",
                answer.unattributed,
                signal.target.labels()
            ));
        }
        let failure = answer.failure.clone();
        let batches = ledger.publish(signal, self.forget_after, at, answer);
        let mut coverage = Coverage::default();
        for batch in &batches {
            coverage.asked += batch.coverage.asked;
            coverage.answered += batch.coverage.answered;
            coverage.failed += batch.coverage.failed;
        }
        let samples: usize = batches
            .iter()
            .flat_map(|batch| &batch.series)
            .map(|series| series.samples.len())
            .sum();
        let dropped = self.outbox.deliver(batches).await;
        self.board.update(&signal.name, |status| {
            if status.notes != notes && !notes.is_empty() {
                tracing::warn!(
                    signal = signal.name,
                    ?notes,
                    "answer of the source has problems"
                );
            }
            notes.truncate(MAX_NOTES);
            status.notes = notes;
            status.coverage = coverage;
            status.targets = ledger.targets();
            status.series = ledger.series();
            status.samples += samples as u64;
            status.dropped += dropped;
            status.round(at, failure);
        });
    }
}

/// Returns the problems of the scrapes behind a signal. The texts do not change while the problems
/// last.
fn notes(store: &Store, watched: &Watched) -> Vec<String> {
    let mut notes = unusable_lines(&watched.signal, store);
    if let (_, Some(source)) = watched.memory.surplus() {
        notes.push(format!(
            "{} brings more series to this signal than `series_limit` of [collect]: the surplus is left out; \
             drop labels with many values from `by`, or raise the limit",
            shown_text(&source.url)
        ));
    }
    notes
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
