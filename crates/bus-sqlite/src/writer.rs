//! The only task that writes. Changes that arrive while the disk is busy share the next
//! transaction.

use anomalyzer_domain::millis;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::config::LocalBusConfig;
use super::counters::Counters;
use super::store::{Change, PRUNE_ROWS, apply};
use anomalyzer_bus::{BusError, dead_letter_name};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::disk_probe;
use anomalyzer_domain::{Record, Topic};

/// Maximum number of changes, and of bytes, in one transaction.
const GROUP_CHANGES: usize = 256;
const GROUP_BYTES: usize = 16 << 20;
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// A change and the channel for its answer.
pub(super) struct Write {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<i64, BusError>>,
}

/// State of the writer task.
pub(super) struct Writer {
    pub(super) connection: SqlitePool,
    pub(super) config: LocalBusConfig,
    pub(super) counters: Arc<Counters>,
    /// Counter that is increased with every write, so that waiting subscriptions read again.
    pub(super) written: watch::Sender<u64>,
}

impl Writer {
    /// Writes until all senders are dropped, then closes the file.
    pub(super) async fn run(self, mut writes: mpsc::Receiver<Write>) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        prune.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = tokio::time::interval(disk_probe::PROBE_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                write = writes.recv() => {
                    let Some(first) = write else { break };
                    let group = gather(first, &mut writes);
                    self.write(group).await;
                }
                _ = prune.tick() => {
                    // Queued writes come between two prunings.
                    if self.prune().await {
                        prune.reset_immediately();
                    }
                }
                _ = again.tick(), if self.counters.has_problem() => self.try_again().await,
            }
        }
        self.connection.close().await;
    }

    async fn write(&self, group: Vec<Write>) {
        let (changes, waiting): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|write| (write.change, write.done))
            .unzip();
        match apply(&self.connection, &changes).await {
            Ok(answers) => {
                self.counters.solve();
                self.written.send_modify(|count| *count += 1);
                for (done, answer) in waiting.into_iter().zip(answers) {
                    // The receiver is gone if the caller gave up waiting. That is fine.
                    let _ = done.send(Ok(answer));
                }
            }
            Err(error) => {
                let problem = format!("{error} (is the disk full?)");
                self.counters.report(&problem);
                for done in waiting {
                    let _ = done.send(Err(BusError::Store(problem.clone())));
                }
            }
        }
    }

    async fn try_again(&self) {
        let tried = async {
            let mut connection = self.connection.acquire().await?;
            for statement in disk_probe::PROBE_STATEMENTS {
                sqlx::query(statement).execute(&mut *connection).await?;
            }
            Ok::<(), sqlx::Error>(())
        };
        match tried.await {
            Ok(()) => self.counters.solve(),
            Err(error) => tracing::debug!(%error, "the local bus still cannot write"),
        }
    }

    /// Prunes a bounded number of messages. Returns true if there may be more.
    async fn prune(&self) -> bool {
        let retention = millis(self.config.retention);
        let before = now_ms().saturating_sub(retention);
        let mut changes: Vec<_> = [Topic::Incidents, Topic::Solutions]
            .map(|topic| Change::Prune { topic, before })
            .into();
        changes.extend(Topic::ALL.map(|topic| Change::PruneDeadLetters {
            topic: dead_letter_name(topic.default_name()),
            keep_bytes: self.config.dead_letter_bytes,
        }));
        match apply(&self.connection, &changes).await {
            Ok(pruned) => pruned.into_iter().any(|rows| rows >= PRUNE_ROWS),
            Err(error) => {
                tracing::warn!(%error, "cannot prune the local bus; retrying later");
                false
            }
        }
    }
}

fn gather(first: Write, writes: &mut mpsc::Receiver<Write>) -> Vec<Write> {
    let bytes = |write: &Write| match &write.change {
        Change::Append { records, .. } => records.iter().map(Record::size).sum(),
        _ => 0,
    };
    let mut total = bytes(&first);
    let mut group = vec![first];
    while group.len() < GROUP_CHANGES && total < GROUP_BYTES {
        let Ok(write) = writes.try_recv() else { break };
        total += bytes(&write);
        group.push(write);
    }
    group
}
