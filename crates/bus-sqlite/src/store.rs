//! Storage of the durable topics in SQLite, with one writing connection and several reading ones.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};

use super::headers;
use anomalyzer_bus::BusError;
use anomalyzer_domain::{Delivery, Record, Topic, UnixMs};

/// Payload size in bytes after which a read ends, so that big messages don't pile up in memory.
const READ_BYTES: usize = 8 << 20;
/// Maximum number of rows that one pruning deletes. Queued writes wait for it.
const PRUNE_ROWS: i64 = 1000;
const READERS: u32 = 4;
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

/// Opens the file. Creates the file and its schema if they do not exist.
pub(super) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), BusError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let named = |e: sqlx::Error| BusError::Store(format!("{}: {e}", path.display()));
    let one = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let writer = one.connect_with(options.clone()).await.map_err(named)?;
    sqlx::migrate!("../../migrations/bus")
        .run(&writer)
        .await
        .map_err(|e| named(e.into()))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .connect_with(options.read_only(true))
        .await
        .map_err(named)?;
    Ok((writer, readers))
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
                "DELETE FROM messages WHERE topic = ?1 AND position <= (
                     SELECT max(position) FROM (
                         SELECT position, sum(length(payload)) OVER (ORDER BY position DESC) AS kept
                         FROM messages WHERE topic = ?1)
                     WHERE kept > ?2)",
            )
            .bind(topic)
            .bind(i64::try_from(*keep_bytes).unwrap_or(i64::MAX))
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
