//! Reader of the history: its connections, its rows and its errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{ConnectOptions, QueryBuilder, Sqlite, SqlitePool};
use tempfile::TempDir;

use super::counts::ReadCounts;
use super::limits::SearchLimits;
use crate::error::is_interrupted;
use crate::{HistoryError, Page, schema};

/// Number of instructions of SQLite between two looks at the clock, well under a millisecond.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

/// Reader of a history that another task or process may write at the same time.
#[derive(Clone, Debug)]
pub struct HistoryReader {
    /// Folder of the file that is read in place of the one at `path`.
    _copy: Option<Arc<TempDir>>,
    path: PathBuf,
    pub(crate) pool: SqlitePool,
    limits: SearchLimits,
    counts: Arc<ReadCounts>,
}

impl HistoryReader {
    /// Opens an existing file. Its schema must be the one of this version.
    pub async fn open(path: &Path) -> Result<Self, HistoryError> {
        Self::open_for_searches(path, SearchLimits::ACTING).await
    }

    /// Opens an existing file like [`HistoryReader::open`], with these limits.
    pub async fn open_for_searches(
        path: &Path,
        limits: SearchLimits,
    ) -> Result<Self, HistoryError> {
        if !path.is_file() {
            let reason = "there is no such file; check the data folder".to_owned();
            return Err(HistoryError::Open {
                path: path.to_owned(),
                reason,
            });
        }
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(Duration::from_secs(5))
            .thread_name(|_| "history-reader".to_owned())
            .disable_statement_logging();
        let deadline = limits.deadline;
        let pool = SqlitePoolOptions::new()
            .max_connections(limits.connections)
            .acquire_timeout(limits.acquire_timeout)
            .after_connect(move |connection, _| Box::pin(set_deadline(connection, deadline)))
            .before_acquire(move |connection, _| {
                Box::pin(async move { set_deadline(connection, deadline).await.map(|()| true) })
            })
            .connect_with(connect)
            .await
            .map_err(|error| HistoryError::from_sqlx(path, &error))?;
        let reader = Self {
            path: path.to_owned(),
            _copy: None,
            pool,
            limits,
            counts: Arc::default(),
        };
        reader.check_schema().await?;
        Ok(reader)
    }

    /// Returns the number of reads within the last minute that got no connection.
    pub(crate) fn refused_lately(&self) -> u64 {
        self.counts.refused_lately()
    }

    /// Returns the numbers of reads without a connection and of interrupted reads.
    pub(crate) fn counts(&self) -> [u64; 2] {
        self.counts.totals()
    }

    async fn check_schema(&self) -> Result<(), HistoryError> {
        let wanted = schema::version();
        let found: Result<Option<i64>, _> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
                .fetch_one(&self.pool)
                .await;
        let reason = match found {
            Ok(found) if found == wanted => return Ok(()),
            Ok(found) if found > wanted => {
                "it was written by a newer version; use that one".to_owned()
            }
            Ok(_) => {
                return Err(HistoryError::Older {
                    path: self.path.clone(),
                });
            }
            Err(error) => match HistoryError::from_sqlx(&self.path, &error) {
                HistoryError::Store { reason, .. } => reason,
                other => return Err(other),
            },
        };
        Err(HistoryError::Open {
            path: self.path.clone(),
            reason,
        })
    }

    /// Makes the reader of a copy stand for the file at `path`. The copy lives in `folder`.
    pub(crate) fn in_place_of(self, path: &Path, folder: TempDir) -> Self {
        Self {
            path: path.to_owned(),
            _copy: Some(Arc::new(folder)),
            ..self
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn bodies<T: DeserializeOwned>(
        &self,
        mut query: QueryBuilder<Sqlite>,
        what: &str,
    ) -> Result<Vec<T>, HistoryError> {
        let rows: Vec<(i64, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(seq, body)| self.parse(&format!("{what} number {seq}"), &body))
            .collect()
    }

    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        mut query: QueryBuilder<Sqlite>,
        page: Page,
        what: &str,
    ) -> Result<(Vec<T>, Option<i64>), HistoryError> {
        let mut rows: Vec<(i64, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let more = rows.len() > page.limit as usize;
        rows.truncate(page.limit as usize);
        let next = rows.last().filter(|_| more).map(|(seq, _)| *seq);
        let page = rows
            .into_iter()
            .map(|(seq, body)| self.parse(&format!("{what} number {seq}"), &body))
            .collect::<Result<_, _>>()?;
        Ok((page, next))
    }

    pub(crate) fn parse<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &[u8],
    ) -> Result<T, HistoryError> {
        serde_json::from_slice(body).map_err(|error| self.unreadable(what, &error))
    }

    pub(crate) fn unreadable(&self, what: &str, error: &serde_json::Error) -> HistoryError {
        HistoryError::Unreadable {
            path: self.path.clone(),
            what: what.to_owned(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn failed(&self, error: &sqlx::Error) -> HistoryError {
        let path = self.path.clone();
        match (error, self.limits.deadline) {
            (sqlx::Error::PoolTimedOut, _) => {
                self.counts.count_refused();
                let connections = self.limits.connections;
                HistoryError::NoConnection { path, connections }
            }
            (error, Some(limit)) if is_interrupted(error) => {
                self.counts.count_interrupted();
                HistoryError::TooSlow { path, limit }
            }
            (error, _) => HistoryError::from_sqlx(&self.path, error),
        }
    }
}

/// Gives the next query on the connection its time. SQLite interrupts the query after it, also if
/// nobody waits for its result any more.
async fn set_deadline(
    connection: &mut SqliteConnection,
    deadline: Option<Duration>,
) -> sqlx::Result<()> {
    if let Some(deadline) = deadline {
        let until = Instant::now() + deadline;
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INSTRUCTIONS_PER_LOOK, move || Instant::now() < until);
    }
    Ok(())
}
