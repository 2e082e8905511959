//! Queue of the writer, and its handle. One task writes to the history, and commits all waiting
//! records together.

mod failed;
mod log_reader;
mod task;
mod work;

use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::LogOfRecord;
use anomalyzer_common::metrics::{self, Counter, Metrics};
use anomalyzer_domain::Decision;

use self::task::WriterTask;
use self::work::Job;
pub(super) use self::work::Work;
use super::heads::HeadsFile;
use super::verification::Integrity;
use super::{HistoryError, HistoryHealth, HistoryOptions};

/// Maximum time that an event waits until this process is the writer of the log of record. Taking
/// over the log at a start takes about as long.
const LEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of decisions that a subscriber may lag behind.
const MAX_BACKLOG: usize = 1024;

/// Parts that attest the record outside of the file.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    pub heads: Arc<HeadsFile>,
    pub integrity: Integrity,
}

/// Handle that sends work to the writer task.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    /// Maximum time that a caller waits for room in the queue, and again until its record is
    /// durable.
    time_limit: Duration,
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
            .gauge(
                "anomalyzer_queue_capacity",
                "Limit of the records that wait.",
                &queue,
            )
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
            waiting: metrics.gauge(
                "anomalyzer_queue_waiting",
                "Records that wait to be written.",
                &queue,
            ),
            took: metrics.histogram(
                "anomalyzer_history_commit_seconds",
                "Time until a group of records was durable.",
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
            time_limit: options.time_limit,
            sender,
            decisions,
            problem,
            task: tokio::sync::Mutex::new(Some(tokio::spawn(
                writer.run(receiver, closing.clone()),
            ))),
            closing,
            full: metrics.counter(
                "anomalyzer_queue_full_total",
                "Times when the queue was full.",
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
                LEAD_TIMEOUT.min(self.time_limit),
                leads.wait_for(|leads| *leads),
            )
            .await;
        }
        let (path, time_limit) = (self.path.clone(), self.time_limit);
        let permit = match self.sender.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Closed(())) => {
                return Err(HistoryError::Closed { path });
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                self.full.increment();
                match tokio::time::timeout(time_limit, self.sender.reserve()).await {
                    Ok(Ok(permit)) => permit,
                    Ok(Err(_)) => return Err(HistoryError::Closed { path }),
                    Err(_) => {
                        return Err(HistoryError::Busy {
                            path,
                            waiting: self.waiting(),
                            time_limit,
                        });
                    }
                }
            }
        };
        let (reply, answer) = oneshot::channel();
        permit.send(Job { work, reply });
        match tokio::time::timeout(time_limit, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(HistoryError::Closed { path }),
            Err(_) => Err(HistoryError::Unanswered { path, time_limit }),
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
