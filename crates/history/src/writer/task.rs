//! Task that writes the history: groups of jobs, the log of record, and a failed disk.

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::failed::Failed;
use super::work::{Job, MAX_GROUP, Work};
use crate::HistoryError;
use crate::anchoring::read_heads;
use crate::chains::Chain;
use crate::heads::HeadsFile;
use crate::log::Entry;
use crate::rows::{append, append_plugin_change, last_link, prune_up_to, put_incident, read_up_to};
use crate::verification::Integrity;
use anomalyzer_bus::{BusError, LogOfRecord};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::disk_probe;
use anomalyzer_common::failpoint::fail_point;
use anomalyzer_common::metrics::{Counter, Gauge, Histogram};
use anomalyzer_domain::Decision;

/// Time between two checks for new events on the log of record.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// State of the writer task.
pub(super) struct WriterTask {
    pub(super) path: PathBuf,
    pub(super) connect: SqliteConnectOptions,
    /// Connection of the writer. None at first and after a failure. A new connection starts from
    /// the content of the file, whatever the failure was.
    pub(super) connection: Option<SqliteConnection>,
    /// Log of record, if there is one.
    pub(super) log: Option<Box<dyn LogOfRecord>>,
    pub(super) leads: watch::Sender<bool>,
    pub(super) decisions: broadcast::Sender<Arc<Decision>>,
    pub(super) problem: Arc<Mutex<Option<String>>>,
    pub(super) heads: Arc<HeadsFile>,
    pub(super) integrity: Integrity,
    pub(super) waiting: Gauge,
    pub(super) took: Histogram,
    pub(super) failed: Counter,
}

impl WriterTask {
    /// Writes jobs until the queue is closed and empty. Meanwhile probes a failed disk, and follows
    /// the log of record while another process writes it.
    pub(super) async fn run(
        mut self,
        mut receiver: mpsc::Receiver<Job>,
        closing: CancellationToken,
    ) {
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
    pub(super) async fn connected(&mut self) -> sqlx::Result<&mut SqliteConnection> {
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
    pub(super) fn explain(&self, error: Failed) -> HistoryError {
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
}
