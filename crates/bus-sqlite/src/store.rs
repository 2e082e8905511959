//! Storage of the durable topics in SQLite, with one writing connection and several reading ones.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};

use sqlx::migrate::MigrateError;

use super::headers;
use anomalyzer_bus::BusError;
use anomalyzer_common::data_folder::private_file;
use anomalyzer_common::set_aside::{SetAside, set_aside};
use anomalyzer_domain::{Delivery, Record, Topic, UnixMs};

/// Payload size in bytes after which a read ends, so that big messages don't pile up in memory.
const READ_BYTES: usize = 8 << 20;
/// Maximum number of rows that one pruning deletes. Queued writes wait for it.
pub(super) const PRUNE_ROWS: i64 = 1000;
const READERS: u32 = 4;
/// Size of a page of SQLite, in bytes.
const SQLITE_PAGE_BYTES: u64 = 4096;
/// Least number of pages that the schema and some messages need.
const MIN_PAGES: u64 = 64;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One change. Several changes share a transaction.
#[derive(Debug)]
pub(super) enum Change {
    /// Appends records to a topic; the answer is the position of the last one.
    Append {
        topic: String,
        at: UnixMs,
        records: Vec<Record>,
    },
    /// Registers a group; the answer is its next position.
    Join { topic: Topic, group: String },
    /// Commits all messages before `next` for a group.
    Commit {
        topic: Topic,
        group: String,
        next: i64,
    },
    /// Deletes messages that every group has committed and that are older than `before`.
    Prune { topic: Topic, before: UnixMs },
    /// Deletes the oldest dead letters beyond `keep_bytes`.
    PruneDeadLetters { topic: String, keep_bytes: u64 },
    /// Does nothing; the answer arrives when all earlier changes are written.
    Flush,
}

pub(super) fn error(error: impl std::fmt::Display) -> BusError {
    BusError::Store(error.to_string())
}

/// Reason why the file cannot be opened.
#[derive(Debug)]
pub(super) struct OpenError {
    pub(super) reason: String,
    /// True if the file is damaged, and would open if it were not there.
    pub(super) damaged: bool,
}

impl From<OpenError> for BusError {
    fn from(error: OpenError) -> Self {
        Self::Store(error.reason)
    }
}

/// SQLite's primary result codes of a damaged file (sqlite.org/rescode.html).
const DAMAGED_CODES: [i32; 2] = [11, 26];

fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<i32>().ok());
    // The lowest byte of an extended code is the primary code.
    code.is_some_and(|code| DAMAGED_CODES.contains(&(code & 0xff)))
}

/// Opens the file. Creates the file and its schema if they do not exist.
pub(super) async fn open(
    path: &Path,
    max_bytes: u64,
) -> Result<(SqlitePool, SqlitePool), OpenError> {
    let named = |damaged: bool, error: &dyn std::fmt::Display| OpenError {
        reason: format!("{}: {error}", path.display()),
        damaged,
    };
    private_file(path).map_err(|error| named(false, &error))?;
    let pages = (max_bytes / SQLITE_PAGE_BYTES).max(MIN_PAGES);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("max_page_count", pages.to_string())
        .disable_statement_logging();
    let one = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let failed = |error: sqlx::Error| named(is_damage(&error), &error);
    let writer = one.connect_with(options.clone()).await.map_err(failed)?;
    let migrated = sqlx::migrate!("../../migrations/bus").run(&writer).await;
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        other => named(false, &other),
    })?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_with(options.read_only(true))
        .await
        .map_err(failed)?;
    Ok((writer, readers))
}

/// Returns the first damage of the file, if there is one.
pub(super) async fn damage(readers: &SqlitePool) -> Option<String> {
    let checked: Result<String, _> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(readers)
        .await;
    match checked {
        Ok(found) => (found != "ok").then_some(found),
        Err(error) if is_damage(&error) => Some(error.to_string()),
        // The first use reports any other error.
        Err(_) => None,
    }
}

/// Moves a damaged file aside, with the files that belong to it.
pub(super) fn move_aside(path: &Path, damage: &str) -> Result<SetAside, BusError> {
    let effect = "messages that no consumer had handled are lost";
    let aside = set_aside(path, format!("{damage}; {effect}")).map_err(error)?;
    for part in ["-wal", "-shm"] {
        let with_part = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(part);
            name
        };
        // These files usually do not exist.
        let _ = std::fs::rename(with_part(path), with_part(&aside.path));
    }
    Ok(aside)
}

/// Applies all changes in one transaction, or none. Returns one number per change.
pub(super) async fn apply(
    writer: &SqlitePool,
    changes: &[Change],
) -> Result<Vec<i64>, sqlx::Error> {
    let mut connection = writer.acquire().await?;
    // The transaction is managed by hand. On a full disk SQLite has already rolled back, and after
    // that sqlx's own transactions can't begin again.
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let written = async {
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            answers.push(apply_one(&mut connection, change).await?);
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(answers)
    }
    .await;
    if written.is_err() {
        // An error only means that there is nothing left to roll back.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    written
}

async fn apply_one(connection: &mut SqliteConnection, change: &Change) -> Result<i64, sqlx::Error> {
    match change {
        Change::Append { topic, at, records } => {
            let mut last = 0;
            for record in records {
                let written =
                    sqlx::query("INSERT INTO messages (topic, published_at, key, headers, payload) VALUES (?, ?, ?, ?, ?)")
                        .bind(topic)
                        .bind(at)
                        .bind(&record.key)
                        .bind(headers::encode(&record.headers))
                        .bind(&record.payload[..])
                        .execute(&mut *connection)
                        .await?;
                last = written.last_insert_rowid();
            }
            Ok(last)
        }
        Change::Join { topic, group } => {
            sqlx::query("INSERT INTO group_offsets (topic, name, next) VALUES (?, ?, 0) ON CONFLICT DO NOTHING")
                .bind(topic.default_name())
                .bind(group)
                .execute(&mut *connection)
                .await?;
            sqlx::query_scalar("SELECT next FROM group_offsets WHERE topic = ? AND name = ?")
                .bind(topic.default_name())
                .bind(group)
                .fetch_one(connection)
                .await
        }
        Change::Commit { topic, group, next } => {
            sqlx::query(
                "UPDATE group_offsets SET next = max(next, ?) WHERE topic = ? AND name = ?",
            )
            .bind(next)
            .bind(topic.default_name())
            .bind(group)
            .execute(connection)
            .await?;
            Ok(*next)
        }
        Change::Prune { topic, before } => {
            let pruned = sqlx::query(
                "DELETE FROM messages WHERE position IN (
                     SELECT position FROM messages
                     WHERE topic = ?1 AND published_at < ?2
                       AND position < (SELECT min(next) FROM group_offsets WHERE topic = ?1)
                     ORDER BY position LIMIT ?3)",
            )
            .bind(topic.default_name())
            .bind(before)
            .bind(PRUNE_ROWS)
            .execute(connection)
            .await?;
            Ok(i64::try_from(pruned.rows_affected()).unwrap_or(i64::MAX))
        }
        Change::PruneDeadLetters { topic, keep_bytes } => {
            let pruned = sqlx::query(
                "DELETE FROM messages WHERE position IN (
                     SELECT position FROM messages WHERE topic = ?1 AND position <= (
                         SELECT max(position) FROM (
                             SELECT position, sum(length(payload)) OVER (ORDER BY position DESC) AS kept
                             FROM messages WHERE topic = ?1)
                         WHERE kept > ?2)
                     ORDER BY position LIMIT ?3)",
            )
            .bind(topic)
            .bind(i64::try_from(*keep_bytes).unwrap_or(i64::MAX))
            .bind(PRUNE_ROWS)
            .execute(connection)
            .await?;
            Ok(i64::try_from(pruned.rows_affected()).unwrap_or(i64::MAX))
        }
        Change::Flush => Ok(0),
    }
}

/// Returns up to `max` messages of a topic, starting at the position `from`.
pub(super) async fn read(
    readers: &SqlitePool,
    topic: Topic,
    name: &str,
    from: i64,
    max: usize,
) -> Result<Vec<Delivery>, BusError> {
    let mut rows = sqlx::query(
        "SELECT position, published_at, key, headers, payload FROM messages WHERE topic = ? AND position >= ?
         ORDER BY position LIMIT ?",
    )
    .bind(name)
    .bind(from)
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch(readers);
    let (mut deliveries, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(error)? {
        let delivery = delivery(topic, &row)?;
        bytes += delivery.record.payload.len();
        deliveries.push(delivery);
        if bytes > READ_BYTES {
            break;
        }
    }
    Ok(deliveries)
}

fn delivery(topic: Topic, row: &SqliteRow) -> Result<Delivery, BusError> {
    let headers: &[u8] = row.try_get("headers").map_err(error)?;
    let payload: Vec<u8> = row.try_get("payload").map_err(error)?;
    Ok(Delivery {
        topic,
        partition: 0,
        offset: row.try_get("position").map_err(error)?,
        published_at: row.try_get("published_at").map_err(error)?,
        record: Record {
            key: row.try_get("key").map_err(error)?,
            headers: headers::decode(headers).map_err(error)?,
            payload: payload.into(),
        },
    })
}

/// Returns the position after the last message of a topic.
pub(super) async fn end(readers: &SqlitePool, name: &str) -> Result<i64, BusError> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT max(position) FROM messages WHERE topic = ?")
            .bind(name)
            .fetch_one(readers)
            .await
            .map_err(error)?;
    Ok(last.map_or(0, |last| last + 1))
}

/// Returns the position of a topic's first message and the position after its last. They are equal
/// if the topic is empty.
pub(super) async fn span(readers: &SqlitePool, name: &str) -> Result<(i64, i64), BusError> {
    let (first, last): (Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT min(position), max(position) FROM messages WHERE topic = ?")
            .bind(name)
            .fetch_one(readers)
            .await
            .map_err(error)?;
    Ok(first
        .zip(last)
        .map_or((0, 0), |(first, last)| (first, last + 1)))
}

/// Returns the position of the first of the newest `count` messages.
pub(super) async fn newest(
    readers: &SqlitePool,
    name: &str,
    count: usize,
) -> Result<i64, BusError> {
    let from: Option<i64> = sqlx::query_scalar(
        "SELECT min(position) FROM (SELECT position FROM messages WHERE topic = ? ORDER BY position DESC LIMIT ?)",
    )
    .bind(name)
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .fetch_one(readers)
    .await
    .map_err(error)?;
    Ok(from.unwrap_or(0))
}
