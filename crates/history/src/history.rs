//! The history: its reader and its writer on one file.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::broadcast;

use super::columns::{EventColumns, IncidentColumns};
use super::heads::HeadsFile;
use super::read::SearchLimits;
use super::rows::begin_chains;
use super::schema::MIGRATIONS;
use super::verification::Integrity;
use super::writer::{Witness, Work, Writer};
use super::{DecisionEvent, HistoryError, HistoryHealth, HistoryOptions, HistoryReader};
use anomalyzer_bus::LogOfRecord;
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{Decision, IncidentEvent};

/// Name of the file inside the data folder.
pub const FILE_NAME: &str = "history.sqlite";

/// Reader and writer of the history. It provides all reads of [`HistoryReader`]. Clones share one
/// writer.
#[derive(Clone, Debug)]
pub struct History {
    reader: HistoryReader,
    searches: HistoryReader,
    pub(super) writer: Arc<Writer>,
    pub(super) heads: Arc<HeadsFile>,
    pub(super) integrity: Integrity,
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
        let begun = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            begin_chains(&mut transaction, now_ms()).await?;
            transaction.commit().await?;
            connection.close().await
        };
        begun
            .await
            .map_err(|error| HistoryError::from_sqlx(path, &error))?;

        let reader = HistoryReader::open(path).await?;
        let searches = HistoryReader::open_for_searches(path, SearchLimits::default()).await?;
        let heads = Arc::new(HeadsFile::beside(path));
        let integrity = Integrity::default();
        let witness = Witness {
            heads: Arc::clone(&heads),
            integrity: integrity.clone(),
        };
        let writer = Writer::start(path, connect, &options, metrics, log, witness);
        Ok(Self {
            reader,
            searches,
            writer: Arc::new(writer),
            heads,
            integrity,
        })
    }

    /// Returns the reader for searches by people. It has connections of its own, so that searches
    /// cannot keep the acting part waiting, and interrupts a search that takes too long.
    pub fn searches(&self) -> &HistoryReader {
        &self.searches
    }

    /// Records an event and the decision's state after it. Returns the event's `seq` when the event
    /// is durable. After an error no part of the event is in the file.
    pub async fn record(&self, event: DecisionEvent) -> Result<i64, HistoryError> {
        let columns = EventColumns::of(event)
            .map_err(|reason| self.unreadable("the event to record", &reason))?;
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
            .map_err(|reason| self.unreadable("the incident to record", &reason))?;
        self.writer.write(Work::Incident(Box::new(columns))).await
    }

    /// Returns a stream of decisions that are recorded from now on. A subscriber that lags behind
    /// by more than 1,024 decisions misses some and gets an error.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.writer.subscribe()
    }

    /// Returns the health of the history.
    pub fn health(&self) -> HistoryHealth {
        HistoryHealth {
            reads_refused: self.reader.refused_lately(),
            searches_refused: self.searches.refused_lately(),
            ..self.writer.health()
        }
    }

    /// Returns the numbers of refused reads of the acting part, refused searches, and interrupted
    /// searches, since the start.
    pub fn read_counts(&self) -> [u64; 3] {
        [
            self.reader.counts()[0],
            self.searches.counts()[0],
            self.searches.counts()[1],
        ]
    }

    /// Writes the waiting records and closes the file. Later records are refused.
    pub async fn close(&self) {
        self.writer.close().await;
        self.reader.close().await;
        self.searches.close().await;
    }
}

/// Creates the file with read access only for its owner, because it contains logs and prompts.
/// SQLite gives the files beside it the same mode.
fn make_file(path: &Path) -> Result<(), HistoryError> {
    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        anomalyzer_regular_file::open_or_create(path)
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

    #[tokio::test]
    async fn a_cut_of_an_earlier_version_is_told_as_such_and_a_later_one_needs_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        make_file(&path).unwrap();
        let url = format!("sqlite://{}", path.display());
        let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let old: Vec<_> = MIGRATIONS.iter().take(4).cloned().collect();
        Migrator::with_migrations(old).run(&mut file).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO cuts VALUES (3, zeroblob(32), 5, 6), (7, randomblob(32), 5, 6);",
        )
        .execute(&mut file)
        .await
        .unwrap();
        let cut: Vec<u8> = sqlx::query_scalar("SELECT hash FROM cuts WHERE seq = 7")
            .fetch_one(&mut file)
            .await
            .unwrap();
        let link = Link {
            seq: 8,
            decision: "dec-1",
            at: 7,
            kind: "ended",
            body: b"{}",
        };
        let hash = chain::hash(&cut.clone().try_into().unwrap(), &link);
        sqlx::query(
            "INSERT INTO decision_events VALUES (8, 'dec-1', 7, 'ended', CAST('{}' AS BLOB), ?, ?)",
        )
        .bind(cut)
        .bind(hash.to_vec())
        .execute(&mut file)
        .await
        .unwrap();
        file.close().await.unwrap();

        let metrics = Metrics::default();
        let history = History::open(&path, HistoryOptions::default(), &metrics)
            .await
            .unwrap();
        let [decisions, .., cuts] = history.audit(&[]).await.unwrap();
        assert_eq!((decisions.broken, cuts.broken), (None, None));
        assert!(decisions.cut_by_earlier_version && decisions.cut == 7);

        let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("INSERT INTO cuts SELECT seq, hash, at, 9 FROM decision_events")
            .execute(&mut file)
            .await
            .unwrap();
        let [decisions, .., cuts] = history.audit(&[]).await.unwrap();
        let differs = cuts.differs.unwrap();
        assert_eq!((differs.table, differs.row.as_str()), ("cuts", "8"));
        assert_eq!(
            decisions.broken, None,
            "the chain begins at the recorded cut"
        );
    }

    #[tokio::test]
    async fn searches_that_take_all_their_connections_delay_nobody_else_and_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let history = History::open(&path, HistoryOptions::default(), &Metrics::default())
            .await
            .unwrap();
        let limits = SearchLimits {
            connections: 2,
            acquire_timeout: Duration::from_millis(50),
            deadline: Some(Duration::ZERO),
        };
        let searches = HistoryReader::open_for_searches(&path, limits)
            .await
            .unwrap();
        let held = [
            searches.pool.acquire().await.unwrap(),
            searches.pool.acquire().await.unwrap(),
        ];
        let refused = searches.all_incidents().await.unwrap_err();
        assert!(
            matches!(refused, HistoryError::NoConnection { connections: 2, .. }),
            "{refused}"
        );
        assert_eq!((searches.refused_lately(), searches.counts()), (1, [1, 0]));
        assert_eq!(history.all_incidents().await.unwrap(), []);
        assert_eq!(history.health().reads_refused, 0);
        drop(held);

        // A search beyond its deadline is interrupted by SQLite, and its connection works on.
        let endless = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
        for _ in 0..3 {
            let error = sqlx::query(endless)
                .fetch_one(&searches.pool)
                .await
                .unwrap_err();
            let slow = searches.failed(&error);
            assert!(matches!(slow, HistoryError::TooSlow { .. }), "{slow}");
        }
        assert_eq!(searches.counts(), [1, 3]);
        assert_eq!(searches.last_event().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn two_filters_at_once_use_the_index_that_has_both() {
        use super::super::{Filter, Page};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let history = History::open(&path, HistoryOptions::default(), &Metrics::default())
            .await
            .unwrap();
        let filter = |state: Option<&str>, outcome: Option<&str>, solution: Option<&str>| Filter {
            state: state.map(|state| serde_json::from_value(state.into()).unwrap()),
            outcome: outcome.map(|outcome| serde_json::from_value(outcome.into()).unwrap()),
            solution: solution.map(str::to_owned),
            ..Filter::default()
        };
        let alarm = Some("alarm");
        for (filter, index) in [
            (
                filter(Some("held"), None, alarm),
                "decisions_by_state_and_solution (state=? AND solution=?)",
            ),
            (
                filter(Some("done"), None, alarm),
                "decisions_by_state_and_solution (state=? AND solution=?)",
            ),
            (
                filter(None, Some("worse"), alarm),
                "decisions_by_outcome_and_solution (outcome=? AND solution=?)",
            ),
            (filter(Some("held"), Some("worse"), alarm), "(state=?)"),
            (
                filter(None, None, alarm),
                "decisions_by_solution (solution=?)",
            ),
        ] {
            let mut query =
                sqlx::QueryBuilder::new("EXPLAIN QUERY PLAN SELECT decisions.seq, decisions.body");
            let column = filter.push(&mut query);
            Page::default().push(&mut query, column);
            let plan: Vec<(i64, i64, i64, String)> = query
                .build_query_as()
                .fetch_all(&history.searches().pool)
                .await
                .unwrap();
            let plan: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
            assert!(
                plan[0].contains(index) && plan.len() == 1,
                "{filter:?}: {plan:?}"
            );
        }
    }
}
