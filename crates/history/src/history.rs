//! The history: its reader and its writer on one file.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::broadcast;

use super::columns::{EventColumns, IncidentColumns};
use super::schema::MIGRATIONS;
use super::writer::{Work, Writer};
use super::{DecisionEvent, HistoryError, HistoryHealth, HistoryOptions, HistoryReader};
use anomalyzer_bus::LogOfRecord;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{Decision, IncidentEvent};

/// Name of the file inside the data folder.
pub const FILE_NAME: &str = "history.sqlite";

/// Reader and writer of the history. It provides all reads of [`HistoryReader`]. Clones share one
/// writer.
#[derive(Clone, Debug)]
pub struct History {
    reader: HistoryReader,
    pub(super) writer: Arc<Writer>,
}

impl Deref for History {
    type Target = HistoryReader;

    fn deref(&self) -> &HistoryReader {
        &self.reader
    }
}

impl History {
    /// Opens the file and updates its schema. Creates the file and its folder if they do not exist.
    pub async fn open(
        path: &Path,
        options: HistoryOptions,
        metrics: &Metrics,
    ) -> Result<Self, HistoryError> {
        Self::open_with(path, options, metrics, None).await
    }

    /// Opens the file like [`History::open`]. If there is a log of record, the history is a view of
    /// it and accepts decisions only while this process is the log's writer.
    pub async fn open_with(
        path: &Path,
        options: HistoryOptions,
        metrics: &Metrics,
        log: Option<Box<dyn LogOfRecord>>,
    ) -> Result<Self, HistoryError> {
        make_file(path)?;
        let connect = writer_options(path, &options);
        let mut connection = connect
            .connect()
            .await
            .map_err(|error| HistoryError::from_sqlx(path, &error))?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|error| HistoryError::from_migrate(path, error))?;
        connection
            .close()
            .await
            .map_err(|error| HistoryError::from_sqlx(path, &error))?;

        let reader = HistoryReader::open(path).await?;
        let writer = Arc::new(Writer::start(path, connect, &options, metrics, log));
        Ok(Self { reader, writer })
    }

    /// Records an event and the decision's state after it. Returns the event's `seq` when the event
    /// is durable. After an error no part of the event is in the file.
    pub async fn record(&self, event: DecisionEvent) -> Result<i64, HistoryError> {
        let columns = EventColumns::of(event)
            .map_err(|reason| self.unreadable("the event to record", reason))?;
        self.writer.write(Work::Event(Box::new(columns))).await
    }

    /// Makes this process the writer of the log of record. Fences the previous writer and reads all
    /// recorded events. Does nothing if there is no log of record.
    ///
    /// # Errors
    /// Returns an error if the log is unavailable, or if it does not continue the events in the
    /// file.
    pub async fn take_over(&self) -> Result<(), HistoryError> {
        self.writer.take_over().await
    }

    /// Waits until another process records, or until it is unknown if this process still does.
    pub async fn stands_by(&self) {
        self.writer.stands_by().await;
    }

    /// Records the state of an incident after this event. An event older than the recorded state
    /// changes nothing.
    pub async fn record_incident(&self, event: &IncidentEvent) -> Result<i64, HistoryError> {
        let columns = IncidentColumns::of(&event.incident)
            .map_err(|reason| self.unreadable("the incident to record", reason))?;
        self.writer.write(Work::Incident(Box::new(columns))).await
    }

    /// Returns a stream of decisions that are recorded from now on. A subscriber that lags behind
    /// by more than 1,024 decisions misses some and gets an error.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.writer.subscribe()
    }

    /// Returns the health of the history.
    pub fn health(&self) -> HistoryHealth {
        self.writer.health()
    }

    /// Writes the waiting records and closes the file. Later records are refused.
    pub async fn close(&self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

/// Creates the file with read access only for its owner, because it contains logs and prompts.
/// SQLite gives the files beside it the same mode.
fn make_file(path: &Path) -> Result<(), HistoryError> {
    use std::os::unix::fs::OpenOptionsExt;

    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    };
    open().map(drop).map_err(|error| HistoryError::Open {
        path: path.to_owned(),
        reason: format!("{error}; give this user a data folder to write to"),
    })
}

fn writer_options(path: &Path, options: &HistoryOptions) -> SqliteConnectOptions {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        // The words and five indexes cause writes all over the file. A large cache avoids reading
        // and writing the same pages repeatedly.
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "8192")
        .thread_name(|_| "history-writer".to_owned())
        .disable_statement_logging();
    match options.max_pages {
        Some(pages) => connect.pragma("max_page_count", pages.to_string()),
        None => connect,
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;
    use sqlx::migrate::Migrator;

    use super::super::chain::{self, GENESIS, Link};
    use super::*;

    #[tokio::test]
    async fn a_file_of_every_released_schema_is_brought_up_to_date_with_all_that_is_in_it() {
        let all: Vec<_> = MIGRATIONS.iter().cloned().collect();
        for released in 1..all.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE_NAME);
            make_file(&path).unwrap();
            let mut file = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
                .await
                .unwrap();
            Migrator::with_migrations(all[..released].to_vec())
                .run(&mut file)
                .await
                .unwrap();
            let link = Link {
                seq: 1,
                decision: "dec-1",
                at: 7,
                kind: "ended",
                body: b"{}",
            };
            let hash = chain::hash(&GENESIS, &link).to_vec();
            sqlx::query(
                "INSERT INTO decision_events VALUES (1, 'dec-1', 7, 'ended', CAST('{}' AS BLOB), zeroblob(32), ?)",
            )
            .bind(&hash)
            .execute(&mut file)
            .await
            .unwrap();
            file.close().await.unwrap();

            let metrics = Metrics::default();
            let history = History::open(&path, HistoryOptions::default(), &metrics)
                .await
                .unwrap();
            let head = history.verify_chain().await.unwrap();
            assert_eq!(
                (head.seq, head.hash),
                (1, hex::encode(hash)),
                "of schema {released}"
            );
            history.close().await;
        }
    }
}
