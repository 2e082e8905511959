//! The writer task: the only task that writes to the history. It commits all waiting records
//! together.

use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{BusError, LogOfRecord};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_common::metrics::{Counter, Gauge, Histogram, Metrics};
use anomalyzer_common::{disk_probe, metrics};
use anomalyzer_domain::{Decision, UnixMs};

use super::anchoring::read_heads;
use super::chains::Chain;
use super::columns::{EventColumns, IncidentColumns, PluginColumns};
use super::cuts::CutReason;
use super::heads::HeadsFile;
use super::log::{ApplyError, Entry};
use super::rows::{append, append_plugin_change, last_link, prune_up_to, put_incident, read_up_to};
use super::verification::Integrity;
use super::{HistoryError, HistoryHealth, HistoryOptions};

/// Maximum number of records that share one commit.
const MAX_GROUP: usize = 256;

/// Time between two checks for new events on the log of record.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time that an event waits until this process is the writer of the log of record. Taking
/// over the log at a start takes about as long.
const LEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of decisions that a subscriber may lag behind.
const MAX_BACKLOG: usize = 1024;

/// Work for the writer task.
#[derive(Debug)]
pub(super) enum Work {
    Event(Box<EventColumns>),
    Incident(Box<IncidentColumns>),
    Plugin(Box<PluginColumns>),
    /// Prunes all events of a chain up to and including `until`.
    Cut {
        chain: Chain,
        until: i64,
        reason: CutReason,
        now: UnixMs,
    },
    /// Makes this process the writer of the log of record.
    TakeOver,
}

/// Parts that attest the record outside of the file.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub heads: Arc<HeadsFile>,
    pub integrity: Integrity,
}

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<i64, HistoryError>>,
}

/// Handle that sends work to the writer task.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    /// Maximum time that a caller waits for room in the queue, and again until its record is
    /// durable.
    patience: Duration,
    sender: mpsc::Sender<Job>,
    decisions: broadcast::Sender<Arc<Decision>>,
    /// Reason why the last write failed, if it failed.
    problem: Arc<Mutex<Option<String>>>,
    closing: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// Number of times that the queue was full.
    full: Counter,
    /// True if this process is the writer of the log of record, and so accepts events. Always true
    /// if there is no log of record.
    leads: watch::Receiver<bool>,
    /// Name of the log of record, if there is one.
    log: Option<String>,
}

impl Writer {
    /// Starts the writer task.
    pub(super) fn start(
        path: &Path,
        connect: SqliteConnectOptions,
        options: &HistoryOptions,
        metrics: &Metrics,
        log: Option<Box<dyn LogOfRecord>>,
        witness: Witness,
    ) -> Self {
        let (leads, led) = watch::channel(log.is_none());
        let name = log.as_ref().map(|log| log.name().to_owned());
        let (sender, receiver) = mpsc::channel(options.queue);
        let (decisions, _) = broadcast::channel(MAX_BACKLOG);
        let problem = Arc::default();
        let closing = CancellationToken::new();
        let queue = [("queue", "history")];
        metrics
            .gauge("anomalyzer_queue_capacity", "How many may wait.", &queue)
            .set(options.queue as f64);
        let writer = WriterTask {
            path: path.to_owned(),
            connect,
            connection: None,
            log,
            leads,
            decisions: decisions.clone(),
            problem: Arc::clone(&problem),
            heads: witness.heads,
            integrity: witness.integrity,
            waiting: metrics.gauge("anomalyzer_queue_waiting", "How many wait.", &queue),
            took: metrics.histogram(
                "anomalyzer_history_commit_seconds",
                "How long a group of records took to be durable.",
                &[],
                metrics::SECONDS,
            ),
            failed: metrics.counter(
                "anomalyzer_history_failed_total",
                "Records that could not be written.",
                &[],
            ),
        };
        Self {
            path: path.to_owned(),
            patience: options.patience,
            sender,
            decisions,
            problem,
            task: tokio::sync::Mutex::new(Some(tokio::spawn(
                writer.run(receiver, closing.clone()),
            ))),
            closing,
            full: metrics.counter(
                "anomalyzer_queue_full_total",
                "How often a queue was full.",
                &queue,
            ),
            leads: led,
            log: name,
        }
    }

    /// Makes this process the writer of the log of record. Does nothing without a log.
    pub(super) async fn take_over(&self) -> Result<(), HistoryError> {
        if self.log.is_some() {
            self.write(Work::TakeOver).await?;
        }
        Ok(())
    }

    /// Waits until this process is no longer the writer of the log of record.
    pub(super) async fn stands_by(&self) {
        let mut leads = self.leads.clone();
        // An error means that the writer task has ended, which ends the wait too.
        let _ = leads.wait_for(|leads| !leads).await;
    }

    /// Sends work to the writer task and waits until it is durable.
    pub(super) async fn write(&self, work: Work) -> Result<i64, HistoryError> {
        if matches!(work, Work::Event(_)) && !*self.leads.borrow() {
            let mut leads = self.leads.clone();
            // On a timeout the writer task refuses the event.
            let _ = tokio::time::timeout(
                LEAD_TIMEOUT.min(self.patience),
                leads.wait_for(|leads| *leads),
            )
            .await;
        }
        let (path, patience) = (self.path.clone(), self.patience);
        let permit = match self.sender.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Closed(())) => {
                return Err(HistoryError::Closed { path });
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                self.full.increment();
                match tokio::time::timeout(patience, self.sender.reserve()).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => return Err(HistoryError::Closed { path }),
                    Err(_) => {
                        return Err(HistoryError::Busy {
                            path,
                            waiting: self.waiting(),
                            patience,
                        });
                    }
                }
            }
        };
        let (reply, answer) = oneshot::channel();
        permit.send(Job { work, reply });
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(HistoryError::Closed { path }),
            Err(_) => Err(HistoryError::Unanswered { path, patience }),
        }
    }

    /// Subscribes to the recorded decisions.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.decisions.subscribe()
    }

    /// Returns the number of waiting records.
    fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    pub(super) fn health(&self) -> HistoryHealth {
        HistoryHealth {
            problem: self.problem.lock().clone(),
            waiting: self.waiting(),
            capacity: self.sender.max_capacity(),
            reads_refused: 0,
            searches_refused: 0,
            leads: self.log.is_some().then(|| *self.leads.borrow()),
        }
    }

    /// Writes the work that was sent, and ends the writer task.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        if let Some(task) = self.task.lock().await.take() {
            // The task can only fail by a panic, and the runtime has already reported that.
            let _ = task.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// State of the writer task.
struct WriterTask {
    path: PathBuf,
    connect: SqliteConnectOptions,
    /// Connection of the writer. None at first and after a failure. A new connection starts from
    /// the content of the file, whatever the failure was.
    connection: Option<SqliteConnection>,
    /// Log of record, if there is one.
    log: Option<Box<dyn LogOfRecord>>,
    leads: watch::Sender<bool>,
    decisions: broadcast::Sender<Arc<Decision>>,
    problem: Arc<Mutex<Option<String>>>,
    heads: Arc<HeadsFile>,
    integrity: Integrity,
    waiting: Gauge,
    took: Histogram,
    failed: Counter,
}

impl WriterTask {
    /// Writes jobs until the queue is closed and empty. Meanwhile probes a failed disk, and follows
    /// the log of record while another process writes it.
    async fn run(mut self, mut receiver: mpsc::Receiver<Job>, closing: CancellationToken) {
        let mut jobs = Vec::new();
        let mut again = tokio::time::interval(disk_probe::PROBE_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follow = tokio::time::interval(FOLLOW_INTERVAL);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let broken = self.problem.lock().is_some();
            let taken = tokio::select! {
                taken = receiver.recv_many(&mut jobs, MAX_GROUP) => taken,
                () = closing.cancelled(), if !receiver.is_closed() => {
                    // Work that was sent before is still written.
                    receiver.close();
                    continue;
                }
                _ = again.tick(), if broken => {
                    self.try_again().await;
                    continue;
                }
                _ = follow.tick(), if !*self.leads.borrow() => {
                    if let Err(error) = self.catch_up(1).await {
                        tracing::debug!(%error, "cannot follow the log of record");
                    }
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            self.waiting.set(receiver.len() as f64);
            self.write(std::mem::take(&mut jobs)).await;
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, path = %self.path.display(), "the history did not close cleanly");
        }
    }

    /// Probes the file after a failed write, and clears the problem if the file can be written.
    async fn try_again(&mut self) {
        let tried = async {
            let path = self.path.clone();
            let probed = async {
                let connection = self.connected().await?;
                for statement in disk_probe::PROBE_STATEMENTS {
                    sqlx::query(statement).execute(&mut *connection).await?;
                }
                Ok::<(), sqlx::Error>(())
            };
            probed
                .await
                .map_err(|error| HistoryError::from_sqlx(&path, &error))?;
            if *self.leads.borrow() {
                Ok(true)
            } else {
                self.catch_up(1).await
            }
        };
        match tried.await.map(drop) {
            Ok(()) => {
                tracing::info!(path = %self.path.display(), "the history can be written again");
                *self.problem.lock() = None;
            }
            Err(error) => {
                tracing::debug!(%error, "the history still cannot be written");
                self.connection = None;
            }
        }
    }

    /// Writes all jobs in one transaction. If the transaction fails and the disk is not full,
    /// writes them one by one, so that one invalid record does not affect the others.
    async fn write(&mut self, jobs: Vec<Job>) {
        let (take_over, jobs): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| matches!(job.work, Work::TakeOver));
        if !take_over.is_empty() {
            let result = self.take_over().await;
            self.tell(take_over, vec![result.map(|()| 0)]);
        }
        let (refused, jobs): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| matches!(job.work, Work::Event(_)) && !*self.leads.borrow());
        for job in refused {
            let log = self
                .log
                .as_ref()
                .map(|log| log.name().to_owned())
                .unwrap_or_default();
            let _ = job.reply.send(Err(HistoryError::StandsBy { log }));
        }
        if jobs.is_empty() {
            return;
        }
        let works: Vec<&Work> = jobs.iter().map(|job| &job.work).collect();
        let results = match self.commit(&works).await {
            Ok(seqs) => seqs.into_iter().map(Ok).collect(),
            // If it is unknown which events are on the log of record, the jobs are not retried one
            // by one. Otherwise the log could contain events twice, in another order.
            Err(error)
                if jobs.len() == 1
                    || matches!(error, HistoryError::Full { .. })
                    || !*self.leads.borrow() =>
            {
                vec![Err(error); jobs.len()]
            }
            Err(_) => {
                let mut results = Vec::with_capacity(jobs.len());
                for work in works {
                    results.push(
                        self.commit(&[work])
                            .await
                            .map(|seqs| seqs.first().copied().unwrap_or_default()),
                    );
                }
                results
            }
        };
        self.tell(jobs, results);
    }

    /// Sends each job its result, and publishes the recorded decisions. Logs when the history stops
    /// being writable, and when it is writable again.
    fn tell(&self, jobs: Vec<Job>, results: Vec<Result<i64, HistoryError>>) {
        for (job, result) in jobs.into_iter().zip(results) {
            let problem = result.as_ref().err().map(ToString::to_string);
            let before = std::mem::replace(&mut *self.problem.lock(), problem.clone());
            match (&problem, &before) {
                (Some(problem), None) => tracing::error!(%problem, "the history cannot be written"),
                (None, Some(_)) => {
                    tracing::info!(path = %self.path.display(), "the history can be written again");
                }
                _ => {}
            }
            if problem.is_some() {
                self.failed.increment();
            } else if let Work::Event(event) = job.work {
                // Sending fails if there are no subscribers.
                let _ = self.decisions.send(event.decision);
            }
            // Sending fails if the caller no longer waits.
            let _ = job.reply.send(result);
        }
    }

    /// Returns the connection, and opens it if there is none.
    async fn connected(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Writes everything in one transaction; measures its duration, and drops the connection after
    /// a failure.
    async fn commit(&mut self, works: &[&Work]) -> Result<Vec<i64>, HistoryError> {
        let started = Instant::now();
        let result = self.transaction(works).await;
        if result.is_err() {
            // The connection is dropped, not closed, so SQLite rolls back the uncommitted changes.
            self.connection = None;
        }
        self.took.observe(started.elapsed().as_secs_f64());
        if result.is_ok() {
            self.write_heads().await;
        }
        result.map_err(|error| self.explain(error))
    }

    /// Writes the heads beside the file. Heads of a record that was not verified would hide what
    /// became of it.
    async fn write_heads(&mut self) {
        if !self.integrity.is_verified() {
            return;
        }
        let heads = match self.connected().await {
            Ok(connection) => read_heads(connection).await,
            Err(error) => Err(error),
        };
        let written = match heads {
            Ok(heads) => self.heads.write(heads).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::debug!(error, "cannot write the heads of the chains");
        }
    }

    /// Runs [`Self::write_through`], and gives up the log of record if it may have come apart from
    /// the file.
    async fn transaction(&mut self, works: &[&Work]) -> Result<Vec<i64>, Failed> {
        let mut log = self.log.take();
        let mut written = false;
        let result = self
            .write_through(log.as_deref_mut(), works, &mut written)
            .await;
        self.log = log;
        if written && result.is_err() {
            // The log may already contain this batch while SQLite does not. This process must not
            // lead until it has read the log again.
            self.stand_by();
        }
        result
    }

    /// Writes everything in one transaction. If there is a log of record, its events are appended
    /// to the log in one transaction before the SQLite transaction ends. `written` is set to true
    /// if the log may contain the events.
    async fn write_through(
        &mut self,
        log: Option<&mut (dyn LogOfRecord + 'static)>,
        works: &[&Work],
        written: &mut bool,
    ) -> Result<Vec<i64>, Failed> {
        let mut transaction = self
            .connected()
            .await?
            .begin_with("BEGIN IMMEDIATE")
            .await?;
        let (mut seqs, mut entries) = (Vec::with_capacity(works.len()), Vec::new());
        // The last link is read inside the transaction, because another process may have written
        // since.
        let mut head = None;
        for work in works {
            seqs.push(match work {
                Work::Event(event) => {
                    let last = match head {
                        Some(last) => last,
                        None => last_link(&mut transaction, Chain::Decisions).await?,
                    };
                    let (seq, hash) = append(&mut transaction, last, event).await?;
                    if log.is_some() {
                        entries.push(Entry::of(seq, last.1, hash, event).encode());
                    }
                    head = Some((seq, hash));
                    seq
                }
                Work::Incident(incident) => {
                    put_incident(&mut transaction, incident, now_ms()).await?
                }
                Work::Plugin(change) => append_plugin_change(&mut transaction, change).await?,
                Work::Cut {
                    chain,
                    until,
                    reason,
                    now,
                } => prune_up_to(&mut transaction, *chain, *until, *reason, *now).await?,
                Work::TakeOver => 0,
            });
        }
        if let Some(log) = log.filter(|_| !entries.is_empty()) {
            fail_point("before", "log");
            // The log writes nothing if it refuses an event as too large.
            let next = log
                .append(entries)
                .await
                .inspect_err(|error| *written = !matches!(error, BusError::TooLarge { .. }))?;
            *written = true;
            fail_point("after", "log");
            read_up_to(&mut transaction, log.name(), next).await?;
        }
        transaction.commit().await?;
        Ok(seqs)
    }

    /// Converts a failure to the error that callers see.
    fn explain(&self, error: Failed) -> HistoryError {
        let log = || {
            self.log
                .as_ref()
                .map(|log| log.name().to_owned())
                .unwrap_or_default()
        };
        match error {
            Failed::Sqlite(error) => HistoryError::from_sqlx(&self.path, &error),
            Failed::Log(error @ BusError::TooLarge { .. }) => {
                let what = "an event to record".to_owned();
                HistoryError::Unreadable {
                    path: self.path.clone(),
                    what,
                    reason: error.to_string(),
                }
            }
            Failed::Log(BusError::Fenced) => HistoryError::StandsBy { log: log() },
            Failed::Log(error) => HistoryError::Log {
                reason: error.to_string(),
            },
            Failed::Apart(reason) => HistoryError::Apart {
                path: self.path.clone(),
                log: log(),
                reason,
            },
        }
    }

    /// Stops accepting events until this process takes the log of record over again.
    fn stand_by(&self) {
        if self.leads.send_replace(false) {
            tracing::warn!(
                "standing by: this server may no longer be the writer of the log of record"
            );
        }
    }

    /// Fences the previous writer of the log and reads its events.
    async fn take_over(&mut self) -> Result<(), HistoryError> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        self.leads.send_replace(false);
        let taken = log.take_over().await;
        taken.map_err(|error| self.explain(Failed::Log(error)))?;
        self.catch_up(usize::MAX).await?;
        self.leads.send_replace(true);
        tracing::info!("this server is now the writer of the log of record");
        Ok(())
    }

    /// Imports events of the log that are not in the file, at most `groups` groups. Returns true if
    /// the end of the log was reached.
    async fn catch_up(&mut self, groups: usize) -> Result<bool, HistoryError> {
        let Some(mut log) = self.log.take() else {
            return Ok(true);
        };
        let mut result = Ok(false);
        for _ in 0..groups {
            result = self.read_on(log.as_mut()).await;
            if !matches!(result, Ok(false)) {
                break;
            }
        }
        self.log = Some(log);
        if result.is_err() {
            self.connection = None;
        }
        result.map_err(|error| self.explain(error))
    }

    /// Imports one group of events from the log. Returns true if the end of the log was reached.
    async fn read_on(&mut self, log: &mut dyn LogOfRecord) -> Result<bool, Failed> {
        let next: Option<i64> = sqlx::query_scalar("SELECT next FROM read_up_to WHERE topic = ?")
            .bind(log.name())
            .fetch_optional(self.connected().await?)
            .await?;
        let (page, all) = log.read(next.unwrap_or(0), MAX_GROUP).await?;
        let Some(last) = page.last() else {
            return Ok(all);
        };
        let mut transaction = self
            .connected()
            .await?
            .begin_with("BEGIN IMMEDIATE")
            .await?;
        let mut head = last_link(&mut transaction, Chain::Decisions).await?;
        let mut taken = Vec::new();
        for delivery in &page {
            let Some(entry) = Entry::decode(delivery) else {
                continue;
            };
            if let Some(event) = entry.to_append(&mut transaction, head).await? {
                head = append(&mut transaction, (entry.seq - 1, entry.previous), &event).await?;
                taken.push(event.decision);
            }
        }
        read_up_to(&mut transaction, log.name(), last.offset + 1).await?;
        transaction.commit().await?;
        for decision in taken {
            // Sending fails if there are no subscribers.
            let _ = self.decisions.send(decision);
        }
        Ok(all)
    }
}

/// Error of writing a group.
#[derive(Debug)]
enum Failed {
    Sqlite(sqlx::Error),
    Log(BusError),
    /// The file and the log contain different events.
    Apart(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<BusError> for Failed {
    fn from(error: BusError) -> Self {
        Self::Log(error)
    }
}

impl From<ApplyError> for Failed {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Sqlite(error) => Self::Sqlite(error),
            ApplyError::Apart { .. } => Self::Apart(error.to_string()),
        }
    }
}
