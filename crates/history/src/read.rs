//! Reader of the history, with connections that cannot write.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions};
use sqlx::{ConnectOptions, QueryBuilder, Sqlite, SqlitePool};
use tempfile::TempDir;

use anomalyzer_domain::{
    Control, Decision, DecisionId, Finding, Incident, IncidentId, OperationRecord, Target, UnixMs,
};

use super::error::is_interrupted;
use super::{Filter, HistoryError, Order, Page, schema};

/// Reader of a history that another task or process may write at the same time.
#[derive(Clone, Debug)]
pub struct HistoryReader {
    /// Folder of the file that is read in place of the one at `path`.
    _copy: Option<Arc<TempDir>>,
    path: PathBuf,
    pub(super) pool: SqlitePool,
    limits: SearchLimits,
    counts: Arc<ReadCounts>,
}

/// Limits of the readers of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchLimits {
    /// Number of connections.
    pub connections: u32,
    /// Time to wait for a connection.
    pub acquire_timeout: Duration,
    /// Time that a query may take. None for no limit.
    pub deadline: Option<Duration>,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            connections: 3,
            acquire_timeout: Duration::from_secs(5),
            deadline: Some(Duration::from_secs(5)),
        }
    }
}

impl SearchLimits {
    /// Limits of the acting part. Its queries are short.
    const ACTING: Self = Self {
        connections: 4,
        acquire_timeout: Duration::from_secs(5),
        deadline: None,
    };
}

/// Counters of the readers of one purpose.
#[derive(Debug, Default)]
struct ReadCounts {
    refused: AtomicU64,
    interrupted: AtomicU64,
    /// Times of the last refusals.
    lately: Mutex<VecDeque<Instant>>,
}

/// Time for which a refusal counts as recent.
const LATELY: Duration = Duration::from_secs(60);
/// Maximum number of recent refusals that are counted.
const MAX_LATELY: usize = 1000;
/// Number of instructions of SQLite between two looks at the clock, well under a millisecond.
const INSTRUCTIONS_PER_LOOK: i32 = 10_000;

/// Past operation with its context.
#[derive(Clone, Debug, PartialEq)]
pub struct PastOperation {
    /// Id of the decision.
    pub decision: DecisionId,
    /// Name of the action that requested the operation.
    pub solution: String,
    /// Record of the operation.
    pub operation: OperationRecord,
}

/// Event as it was recorded.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RecordedEvent {
    /// Position in the chain.
    pub seq: i64,
    /// Time of the event, in RFC 3339.
    #[serde(with = "anomalyzer_domain::as_rfc3339")]
    pub at: UnixMs,
    /// Kind of the event: the name of a [`super::DecisionEventKind`].
    pub kind: String,
    /// State of the decision after the event.
    pub decision: Decision,
    /// Input of this step, if it had one. It is an [`super::Input`], which is parsed only to
    /// reproduce the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl RecordedEvent {
    /// Creates an event from its columns.
    ///
    /// # Errors
    /// Returns an error if the body is not the stored form of an event.
    pub fn read(seq: i64, at: UnixMs, kind: String, body: &[u8]) -> serde_json::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Stored {
            #[serde(flatten)]
            decision: Decision,
            #[serde(default)]
            input: Option<Value>,
        }
        let Stored { decision, input } = serde_json::from_slice(body)?;
        Ok(Self {
            seq,
            at,
            kind,
            decision,
            input,
        })
    }
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
    pub(super) fn refused_lately(&self) -> u64 {
        let mut lately = self.counts.lately.lock();
        lately.retain(|at| at.elapsed() < LATELY);
        lately.len() as u64
    }

    /// Returns the numbers of reads without a connection and of interrupted reads.
    pub(super) fn counts(&self) -> [u64; 2] {
        let ReadCounts {
            refused,
            interrupted,
            ..
        } = &*self.counts;
        [refused, interrupted].map(|count| count.load(Ordering::Relaxed))
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
    pub(super) fn in_place_of(self, path: &Path, folder: TempDir) -> Self {
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

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Returns the current state of a decision.
    pub async fn decision(&self, id: &DecisionId) -> Result<Option<Decision>, HistoryError> {
        let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM decisions WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        body.map(|body| self.parse(&format!("decision {id}"), &body))
            .transpose()
    }

    /// Returns one page of decisions, and the position of the next page if there is one.
    pub async fn decisions(
        &self,
        filter: &Filter,
        page: Page,
    ) -> Result<(Vec<Decision>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new("SELECT decisions.seq, decisions.body");
        let column = filter.push(&mut query);
        page.push(&mut query, column);
        self.page(query, page, "decision").await
    }

    /// Returns a stream of all matching decisions. It reads page by page, so that a slow consumer
    /// does not block others.
    pub fn all_decisions(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxStream<'static, Result<Decision, HistoryError>> {
        let reader = self.clone();
        stream::try_unfold(Some(page), move |page| {
            let (reader, filter) = (reader.clone(), filter.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let (decisions, next) = reader.decisions(&filter, page).await?;
                let next = next.map(|after| Page {
                    after: Some(after),
                    ..page
                });
                Ok(Some((stream::iter(decisions.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// Returns decisions that are not finished, including those that wait for approval, oldest
    /// first. They are resumed after a restart.
    pub async fn unfinished(&self) -> Result<Vec<Decision>, HistoryError> {
        let query = "SELECT seq, body FROM decisions WHERE state IN ('proposed', 'held', 'acting', 'verifying') ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "decision").await
    }

    /// Returns the last decision of each open incident if that decision has ended. Another decision
    /// may have to follow.
    pub async fn last_of_open_incidents(&self) -> Result<Vec<Decision>, HistoryError> {
        let query = "SELECT seq, body FROM decisions WHERE state NOT IN ('proposed', 'held', 'acting', 'verifying') AND seq IN ( \
             SELECT max(later.seq) FROM incidents JOIN decisions AS later ON later.incident = incidents.id \
             WHERE incidents.cleared_at IS NULL GROUP BY incidents.id) ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "decision").await
    }

    /// Returns one page of the decisions about open incidents, and the position of the next page if
    /// there is one.
    pub async fn decisions_of_open_incidents(
        &self,
        page: Page,
    ) -> Result<(Vec<Decision>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM decisions WHERE incident IN (SELECT id FROM incidents WHERE cleared_at IS NULL)",
        );
        page.push(&mut query, "seq");
        self.page(query, page, "decision").await
    }

    /// Returns the current state of an incident.
    pub async fn incident(&self, id: &IncidentId) -> Result<Option<Incident>, HistoryError> {
        let body: Option<Vec<u8>> = sqlx::query_scalar("SELECT body FROM incidents WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        body.map(|body| self.parse(&format!("incident {id}"), &body))
            .transpose()
    }

    /// Counts the control group: incidents on other targets, open at `at`, on which nothing was
    /// changed. Also counts how many of them have cleared since. Considers only the newest 1,000
    /// incidents.
    pub async fn left_alone(&self, at: UnixMs, target: &Target) -> Result<Control, HistoryError> {
        let (left_alone, better): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(cleared_at) FROM (
                 SELECT id, target, opened_at, cleared_at FROM incidents ORDER BY seq DESC LIMIT 1000) AS incident
             WHERE opened_at <= ?1 AND (cleared_at IS NULL OR cleared_at > ?1) AND target != ?2
               AND NOT EXISTS (SELECT 1 FROM decisions JOIN operations ON operations.decision = decisions.id
                               WHERE decisions.incident = incident.id AND operations.outcome IN ('done', 'in_doubt')
                                 AND operations.kind IN ('scale', 'restart', 'roll_back', 'patch', 'http'))",
        )
        .bind(at)
        .bind(target.to_string())
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Control {
            left_alone: count(left_alone),
            better: count(better),
        })
    }

    /// Returns a finding of one of the newest 10,000 incidents, and the incident's target.
    pub async fn finding(&self, id: &str) -> Result<Option<(Target, Finding)>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM (SELECT seq, body FROM incidents ORDER BY seq DESC LIMIT 10000)
             WHERE instr(CAST(body AS TEXT), ",
        );
        query
            .push_bind(format!("\"{id}\""))
            .push(") ORDER BY seq DESC LIMIT 10");
        let incidents: Vec<Incident> = self.bodies(query, "incident").await?;
        Ok(incidents.into_iter().find_map(|incident| {
            let finding = incident
                .findings
                .into_iter()
                .find(|finding| finding.id.as_str() == id)?;
            Some((incident.target, finding))
        }))
    }

    /// Returns all incidents, in the order in which they opened.
    pub async fn all_incidents(&self) -> Result<Vec<Incident>, HistoryError> {
        self.bodies(
            QueryBuilder::new("SELECT seq, body FROM incidents ORDER BY seq ASC"),
            "incident",
        )
        .await
    }

    /// Returns one page of incidents, and the position of the next page if there is one. `open`
    /// limits the list to open incidents (`true`) or to cleared ones (`false`).
    pub async fn incidents(
        &self,
        open: Option<bool>,
        page: Page,
    ) -> Result<(Vec<Incident>, Option<i64>), HistoryError> {
        let mut query = QueryBuilder::new("SELECT seq, body FROM incidents WHERE ");
        query.push(match open {
            None => "TRUE",
            Some(true) => "cleared_at IS NULL",
            Some(false) => "cleared_at IS NOT NULL",
        });
        page.push(&mut query, "seq");
        self.page(query, page, "incident").await
    }

    /// Returns the open incidents, oldest first.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, HistoryError> {
        let query = "SELECT seq, body FROM incidents WHERE cleared_at IS NULL ORDER BY seq ASC";
        self.bodies(QueryBuilder::new(query), "incident").await
    }

    /// Returns operations that were requested at `from` or later, oldest first. None as `target`
    /// means all targets.
    pub async fn operations_since(
        &self,
        target: Option<&Target>,
        from: UnixMs,
    ) -> Result<Vec<PastOperation>, HistoryError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT decision, solution, body FROM operations WHERE asked_at >= ",
        );
        query.push_bind(from);
        if let Some(target) = target {
            query.push(" AND target = ").push_bind(target.to_string());
        }
        query.push(" ORDER BY asked_at, id");
        let rows: Vec<(String, String, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(decision, solution, body)| {
                let operation = self.parse(&format!("an operation of {decision}"), &body)?;
                Ok(PastOperation {
                    decision: decision.into(),
                    solution,
                    operation,
                })
            })
            .collect()
    }

    /// Counts the operations that are dated after `now`, and returns the date of the last one. They
    /// were recorded while the clock was ahead.
    pub async fn operations_after(
        &self,
        now: UnixMs,
    ) -> Result<Option<(u64, UnixMs)>, HistoryError> {
        let (count, last): (i64, Option<UnixMs>) =
            sqlx::query_as("SELECT count(*), max(asked_at) FROM operations WHERE asked_at > ?")
                .bind(now)
                .fetch_one(&self.pool)
                .await
                .map_err(|error| self.failed(&error))?;
        Ok(last.map(|last| (count.unsigned_abs(), last)))
    }

    /// Returns the solution of the newest decision with one of these two solutions, in the order of
    /// the record. Times may lie if the clock was wrong.
    pub async fn newest_of(&self, solutions: [&str; 2]) -> Result<Option<String>, HistoryError> {
        sqlx::query_scalar(
            "SELECT solution FROM decisions WHERE solution IN (?, ?) ORDER BY seq DESC LIMIT 1",
        )
        .bind(solutions[0])
        .bind(solutions[1])
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(&error))
    }

    /// Returns finished decisions that scaled or patched a target at `from` or later, newest first.
    /// A patch may scale too.
    pub async fn scaled_since(&self, from: UnixMs) -> Result<Vec<Decision>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, body FROM decisions WHERE state = 'done' AND id IN (SELECT decision FROM operations \
             WHERE kind IN ('scale', 'patch') AND outcome = 'done' AND asked_at >= ",
        );
        query.push_bind(from).push(") ORDER BY seq DESC");
        self.bodies(query, "decision").await
    }

    /// Counts operations requested from `from` to `to` that changed something or may have: on this
    /// target, in its namespace, and in its cluster. Reads, notices and HTTP requests do not count.
    /// Operations after `to` were recorded while the clock was ahead.
    pub async fn changes_between(
        &self,
        target: &Target,
        from: UnixMs,
        to: UnixMs,
    ) -> Result<[u32; 3], HistoryError> {
        let query = "SELECT count(*) FILTER (WHERE target = ?2), \
             count(*) FILTER (WHERE substr(target, 1, length(?3)) = ?3), \
             count(*) FILTER (WHERE substr(target, 1, length(?4)) = ?4) \
             FROM operations WHERE asked_at BETWEEN ?1 AND ?5 \
             AND kind NOT IN ('inspect', 'read_logs', 'query', 'http', 'notify') \
             AND (outcome IS NULL OR outcome IN ('done', 'in_doubt'))";
        let (on_target, in_namespace, in_cluster): (u32, u32, u32) = sqlx::query_as(query)
            .bind(from)
            .bind(target.to_string())
            .bind(format!("{}/{}/", target.cluster, target.namespace))
            .bind(format!("{}/", target.cluster))
            .bind(to)
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok([on_target, in_namespace, in_cluster])
    }

    /// Returns at most `limit` events after `seq`, oldest first. The filter applies to the current
    /// state of the decisions.
    pub async fn events_after(
        &self,
        seq: i64,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, HistoryError> {
        let mut query = QueryBuilder::new(
            "SELECT seq, at, kind, body FROM decision_events WHERE decision IN (SELECT decisions.id",
        );
        filter.push(&mut query);
        query.push(")");
        Page {
            after: Some(seq),
            limit,
            order: Order::Oldest,
        }
        .push(&mut query, "seq");
        let rows: Vec<(i64, i64, String, Vec<u8>)> = query
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .take(limit as usize)
            .map(|(seq, at, kind, body)| {
                RecordedEvent::read(seq, at, kind, &body)
                    .map_err(|error| self.unreadable(&format!("event {seq}"), error))
            })
            .collect()
    }

    /// Returns the events of a decision, oldest first.
    pub async fn events_of(&self, id: &DecisionId) -> Result<Vec<RecordedEvent>, HistoryError> {
        let rows: Vec<(i64, i64, String, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, at, kind, body FROM decision_events WHERE decision = ? ORDER BY seq",
        )
        .bind(id.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(seq, at, kind, body)| {
                RecordedEvent::read(seq, at, kind, &body)
                    .map_err(|error| self.unreadable(&format!("event {seq}"), error))
            })
            .collect()
    }

    /// Returns the `seq` of the last event; 0 if there is none.
    pub async fn last_event(&self) -> Result<i64, HistoryError> {
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM decision_events")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn bodies<T: DeserializeOwned>(
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

    async fn page<T: DeserializeOwned>(
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

    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        what: &str,
        body: &[u8],
    ) -> Result<T, HistoryError> {
        serde_json::from_slice(body).map_err(|error| self.unreadable(what, error))
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "so that it can stand in map_err"
    )]
    pub(super) fn unreadable(&self, what: &str, error: serde_json::Error) -> HistoryError {
        HistoryError::Unreadable {
            path: self.path.clone(),
            what: what.to_owned(),
            reason: error.to_string(),
        }
    }

    pub(super) fn failed(&self, error: &sqlx::Error) -> HistoryError {
        let counts = &*self.counts;
        let path = self.path.clone();
        match (error, self.limits.deadline) {
            (sqlx::Error::PoolTimedOut, _) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                let mut lately = counts.lately.lock();
                lately.truncate(MAX_LATELY);
                lately.push_front(Instant::now());
                let connections = self.limits.connections;
                HistoryError::NoConnection { path, connections }
            }
            (error, Some(limit)) if is_interrupted(error) => {
                counts.interrupted.fetch_add(1, Ordering::Relaxed);
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
