//! Runs the collection rounds: asks the sources, makes batches and delivers them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use anomalyzer_common::blind_spot::BlindSpots;
use anomalyzer_common::secret_url::shown;
use anomalyzer_domain::{Coverage, MetricBatch, millis, one_line};
use anomalyzer_http_source::Prometheus;

use super::blind_spot_watch::{PaceWatch, RoundResult, SignalWatch};
use super::derive::{Memory, Store, evaluate};
use super::moment::Moment;
use super::publisher::{Publisher, Sink};
use super::query::ask;
use super::round::{Answer, BatchBuilder, MAX_SHOWN_LABELS, PublishBounds};
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
    blind_spots: BlindSpots,
}

/// A signal, and the state of its publication.
struct Watched {
    signal: SignalConfig,
    ledger: BatchBuilder,
    memory: Memory,
    watch: SignalWatch,
    /// Steady time of the next publication.
    due: i64,
}

impl Watched {
    fn new(signal: SignalConfig, config: &CollectConfig) -> Self {
        let bounds = PublishBounds {
            max_targets: config.signal_target_limit,
            max_series: config.signal_series_limit,
            forget_after: config.forget_after,
        };
        Self {
            signal,
            ledger: BatchBuilder::new(bounds),
            memory: Memory::default(),
            watch: SignalWatch::default(),
            due: i64::MIN,
        }
    }

    /// Returns true if the signal is due in this round, and sets the time of the next one. The
    /// steady clock decides, so that a wall clock that is set back does not hold up the signal.
    fn takes_turn(&mut self, now: Moment, interval: Duration) -> bool {
        // Half a tick early counts as on time, because ticks are not exact to the millisecond.
        if now.steady.saturating_add(millis(interval) / 2) < self.due {
            return false;
        }
        let own = self.signal.interval.unwrap_or(interval);
        self.due = now.steady.saturating_add(millis(own));
        true
    }

    /// Returns the problems of a round without a failure.
    fn notes(&self, answer: &mut Answer) -> Vec<String> {
        let mut notes = std::mem::take(&mut answer.notes);
        notes.extend_from_slice(&answer.damage);
        if answer.unattributed > 0 {
            notes.push(format!(
                "{} series have no target: they lack a label out of {:?}, or its value makes no name",
                answer.unattributed,
                self.signal.target.labels()
            ));
        }
        if answer.histograms > 0 {
            notes.push(format!(
                "{} series are native histograms and are left out: ask for histogram_quantile(…) of them",
                answer.histograms
            ));
        }
        if answer.intake.dropped() > 0 {
            notes.push(
                "samples are dropped, because their timestamps are late or more than ten minutes in the future: \
                 set the clocks of the sources right"
                    .to_owned(),
            );
        }
        notes
    }

    /// Describes the series that end and begin again and again.
    fn intermittent(&self) -> Option<String> {
        let (count, first) = self.ledger.reopenings().intermittent()?;
        let first = one_line(&first.to_string(), MAX_SHOWN_LABELS);
        Some(format!(
            "{count} series end and begin again and again, such as {first}: their detectors never learn; raise `lookback` \
             above the time between two scrapes, or let the query always return a value, as with `or vector(0)`"
        ))
    }

    /// Describes the series whose labels can't be used.
    fn refused(&self) -> Option<String> {
        let (count, first) = self.ledger.refused()?;
        Some(format!("{count} series are left out: {first}"))
    }

    /// Describes the series and targets beyond the limits.
    fn surplus(&self) -> Option<String> {
        if let (_, Some(source)) = self.memory.surplus() {
            return Some(format!(
                "{} brings more series to this signal than `series_limit` of [collect]: the surplus is left out; \
                 drop labels with many values from `by`, or raise the limit",
                shown(&source.url)
            ));
        }
        let surplus = self.ledger.surplus();
        let PublishBounds {
            max_targets,
            max_series,
            ..
        } = self.ledger.bounds();
        (surplus > 0).then(|| {
            format!(
                "{surplus} series or targets are left out: a signal has at most {max_series} series \
                 (`signal_series_limit` of [collect]) and {max_targets} targets (`signal_target_limit`); \
                 drop labels with many values"
            )
        })
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
            blind_spots: BlindSpots::default(),
        })
    }

    /// Reports the status of each signal on `board`. A collector that replaces another one on the
    /// same signals takes over the board of its predecessor.
    #[must_use]
    pub fn with_status(mut self, board: StatusBoard) -> Self {
        self.board = board;
        self
    }

    /// Reports the blind spots of collection in this table.
    #[must_use]
    pub fn with_blind_spots(mut self, blind_spots: BlindSpots) -> Self {
        self.blind_spots = blind_spots;
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
            blind_spots: self.blind_spots.clone(),
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
                        .push(Watched::new(signal, &self.config));
                }
                _ => derived.push(Watched::new(signal, &self.config)),
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
    blind_spots: BlindSpots,
    shutdown: CancellationToken,
}

impl Rounds {
    /// Waits for the next round and returns its time. Returns `None` at the shutdown.
    async fn next_round(&self, ticks: &mut Interval, pace: &mut PaceWatch) -> Option<Moment> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            _ = ticks.tick() => {
                let now = Moment::now();
                pace.begin(&self.blind_spots, now);
                Some(now)
            }
        }
    }

    async fn query(
        mut self,
        prometheus: Arc<Prometheus>,
        interval: Duration,
        mut watched: Vec<Watched>,
    ) {
        let mut ticks = ticks(interval);
        let mut pace = PaceWatch::new("queries", interval);
        // All signals of a round share one timestamp, so that they can be compared with each other.
        while let Some(now) = self.next_round(&mut ticks, &mut pace).await {
            let mut questions = Vec::with_capacity(watched.len());
            for watched in &watched {
                questions.push(ask(&prometheus, &watched.signal, now.wall, interval));
            }
            let answers = futures::stream::iter(questions)
                .buffered(QUERIES_AT_ONCE)
                .collect::<Vec<_>>();
            let answers = tokio::select! {
                answers = answers => answers,
                () = self.shutdown.cancelled() => return,
            };
            for (watched, answer) in watched.iter_mut().zip(answers) {
                self.publish(watched, now, answer).await;
            }
            pace.end(&self.blind_spots, now.elapsed());
        }
    }

    async fn scrape(mut self, scraper: Scraper, interval: Duration, mut derived: Vec<Watched>) {
        let mut store = Store::new(derived.iter().map(|watched| &watched.signal));
        let mut ticks = ticks(interval);
        let mut pace = PaceWatch::new("scrapes", interval);
        while let Some(now) = self.next_round(&mut ticks, &mut pace).await {
            tokio::select! {
                () = scraper.round(&mut store) => {}
                () = self.shutdown.cancelled() => return,
            }
            let answered = Moment::now();
            for watched in &mut derived {
                if !watched.takes_turn(now, interval) {
                    continue;
                }
                let answer = evaluate(&watched.signal, &store, &mut watched.memory, answered);
                self.publish(watched, now, answer).await;
            }
            pace.end(&self.blind_spots, now.elapsed());
        }
    }

    async fn publish(&mut self, watched: &mut Watched, now: Moment, mut answer: Answer) {
        let mut notes = watched.notes(&mut answer);
        let (failure, intake) = (answer.failure.clone(), answer.intake);
        let (histograms, damage) = (answer.histograms, answer.damage.first().cloned());
        let batches = watched.ledger.publish(&watched.signal, now, answer);
        let coverage = total_coverage(&batches);
        let samples = count_samples(&batches);
        let lost = self.outbox.deliver(batches).await;

        let (surplus, intermittent) = (watched.surplus(), watched.intermittent());
        let refused = watched.refused();
        let Watched {
            signal,
            ledger,
            memory,
            watch,
            ..
        } = watched;
        let round = RoundResult {
            samples,
            answered: coverage.answered,
            targets: ledger.targets(),
            failure: failure.as_ref(),
            intake,
            lost,
            histograms,
            damage: damage.as_deref(),
            surplus: surplus.as_deref(),
            refused: refused.as_deref(),
            intermittent: intermittent.as_deref(),
        };
        watch.observe(&self.blind_spots, &signal.name, &round);
        notes.extend(surplus.into_iter().chain(refused).chain(intermittent));
        notes.truncate(MAX_NOTES);
        self.board.update(&signal.name, |status| {
            if status.notes != notes && !notes.is_empty() {
                tracing::warn!(
                    signal = signal.name,
                    ?notes,
                    "answer of the source has problems"
                );
            }
            status.notes = notes;
            status.coverage = coverage;
            status.targets = ledger.targets();
            status.series = ledger.series();
            status.samples += samples as u64;
            status.dropped += lost;
            status.late += intake.late;
            status.future += intake.future;
            status.left_out += (ledger.surplus() + memory.surplus().0) as u64;
            status.refused += ledger.refused().map_or(0, |(count, _)| count) as u64;
            status.round(now.wall, failure);
        });
    }
}

/// Adds up the coverage of all targets.
fn total_coverage(batches: &[MetricBatch]) -> Coverage {
    let mut total = Coverage::default();
    for MetricBatch { coverage, .. } in batches {
        total.asked += coverage.asked;
        total.answered += coverage.answered;
        total.failed += coverage.failed;
    }
    total
}

/// Counts the samples, without stale markers.
fn count_samples(batches: &[MetricBatch]) -> usize {
    let samples = batches
        .iter()
        .flat_map(|batch| &batch.series)
        .flat_map(|series| &series.samples);
    samples.filter(|sample| !sample.is_stale_marker()).count()
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_holds_up_no_signal_and_hurries_none() {
        let text = "name = 's'\ninterval = '30s'\nsource = { gauge = { of = 'm' } }\ntarget = { kind = 'Process', name = 'web' }";
        for jump in [
            0,
            -3_600_000,
            3_600_000,
            315_360_000_000,
            -1_700_000_000_000,
        ] {
            let signal = toml::from_str(text).unwrap();
            let mut watched = Watched::new(signal, &CollectConfig::default());
            let turns: Vec<bool> = (0..6)
                .map(|round| {
                    let now = Moment {
                        wall: 1_700_000_000_000 + 15_000 * round + jump * (round % 3),
                        steady: 15_000 * round,
                    };
                    watched.takes_turn(now, Duration::from_secs(15))
                })
                .collect();
            assert_eq!(turns, [true, false, true, false, true, false], "{jump}");
        }
    }

    #[test]
    fn the_limits_of_a_signal_are_settings() {
        for (key, left_out) in [
            ("signal_series_limit", 2),
            ("signal_target_limit", 4),
            ("", 0),
        ] {
            let limit = match key {
                "" => String::new(),
                key => format!("{key} = 1"),
            };
            let config: CollectConfig = toml::from_str(&limit).unwrap();
            let text =
                "name = 's'\nsource = { query = 'q' }\ntarget = { kind = 'Pod', name = '{pod}' }";
            let mut watched = Watched::new(toml::from_str(text).unwrap(), &config);
            // Three targets with one series each, or two if it is one of them.
            let mut answer = Answer::default();
            for pod in ["a", "b", "c"] {
                let series = [1, 2].map(|path: i32| {
                    let labels = [("pod", pod.to_owned()), ("path", path.to_string())];
                    (anomalyzer_domain::Labels::new(labels), 1.0)
                });
                let take = if key == "signal_series_limit" { 1 } else { 2 };
                let reported = answer
                    .targets
                    .entry(anomalyzer_domain::Target::new("", "Pod", pod));
                reported
                    .or_default()
                    .series
                    .extend(series.into_iter().take(take));
            }
            watched
                .ledger
                .publish(&watched.signal, Moment::now(), answer);
            assert_eq!(watched.ledger.surplus(), left_out, "{key}");
            let told = watched.surplus();
            assert_eq!(told.is_some(), left_out > 0);
            assert!(told.unwrap_or_default().contains(key));
        }
        for key in ["series_limit", "signal_series_limit", "signal_target_limit"] {
            let config: CollectConfig = toml::from_str(&format!("{key} = 0")).unwrap();
            let issue = config.validate().unwrap_err();
            assert!(issue.message.contains(key), "{}", issue.message);
        }
    }
}
