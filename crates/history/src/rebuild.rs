//! Rebuild of the tables that are derived from the events.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::audit::walk_cuts;
use super::backup::{refused, unused};
use super::chains::Chain;
use super::columns::{EventColumns, IncidentColumns};
use super::cuts::CutRules;
use super::rows::{put_incident_row, put_state, record_cut};
use super::{HistoryError, HistoryReader};
use anomalyzer_domain::UnixMs;

/// Numbers of rows that a rebuild wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Number of decisions.
    pub decisions: usize,
    /// Number of incidents.
    pub incidents: usize,
}

/// Makes the derived tables of an unused history anew from its events: decisions, operations, the
/// index of words, incidents, and cuts. The cuts must fit `rules`, if they are given.
///
/// # Errors
/// Returns an error if a chain is broken, if the history is in use, or if it can't be written. It
/// is unchanged then.
pub async fn rebuild(path: &Path, rules: Option<&CutRules>) -> Result<Rebuilt, HistoryError> {
    let reader = HistoryReader::open(path).await?;
    let walked = reader.audit_with_heads(&[], rules).await;
    reader.close().await;
    // A difference of the tables is the reason for a rebuild, a broken chain leaves no base for it.
    if let Some(broken) = walked?.iter().find(|walked| walked.broken.is_some()) {
        let problem = broken.problem().unwrap_or_default();
        let remedy =
            "nothing can be rebuilt from it: restore a copy with `anomalyzer history restore`";
        return Err(refused(path, &format!("{problem}; {remedy}")));
    }
    unused(path).await?;
    let failed = |error: sqlx::Error| HistoryError::from_sqlx(path, &error);
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(failed)?;
    let rebuilt = async {
        let mut transaction = connection.begin_with("BEGIN EXCLUSIVE").await?;
        let decisions = rebuild_decisions(&mut transaction).await?;
        let incidents = rebuild_incidents(&mut transaction).await?;
        rebuild_cuts(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Rebuilt {
            decisions,
            incidents,
        })
    };
    let rebuilt = rebuilt.await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(rebuilt)
}

async fn clear(connection: &mut SqliteConnection, tables: &'static str) -> sqlx::Result<()> {
    sqlx::raw_sql(tables).execute(connection).await?;
    Ok(())
}

/// Returns the last event of each subject, in the order of the first events.
async fn last_events(
    connection: &mut SqliteConnection,
    query: &'static str,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(query).fetch_all(connection).await
}

fn unreadable(seq: i64, error: &serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(format!("event {seq} can't be read: {error}").into())
}

async fn rebuild_decisions(connection: &mut SqliteConnection) -> sqlx::Result<usize> {
    clear(
        &mut *connection,
        // The index cannot be used at all while its settings are damaged.
        "DELETE FROM decision_text_config WHERE k != 'version';
         REPLACE INTO decision_text_config (k, v) VALUES ('version', 4);
         DELETE FROM operations; DELETE FROM decisions;
         INSERT INTO decision_text (decision_text) VALUES ('delete-all');",
    )
    .await?;
    let last = last_events(
        &mut *connection,
        "SELECT max(seq) FROM decision_events GROUP BY decision ORDER BY min(seq)",
    )
    .await?;
    for seq in &last {
        let (at, kind, body): (i64, String, Vec<u8>) =
            sqlx::query_as("SELECT at, kind, body FROM decision_events WHERE seq = ?")
                .bind(seq)
                .fetch_one(&mut *connection)
                .await?;
        let columns =
            EventColumns::recorded(&kind, at, &body).map_err(|error| unreadable(*seq, &error))?;
        put_state(&mut *connection, &columns).await?;
    }
    Ok(last.len())
}

async fn rebuild_incidents(connection: &mut SqliteConnection) -> sqlx::Result<usize> {
    clear(&mut *connection, "DELETE FROM incidents;").await?;
    let last = last_events(
        &mut *connection,
        "SELECT max(seq) FROM incident_events GROUP BY incident ORDER BY min(seq)",
    )
    .await?;
    for seq in &last {
        let body: Vec<u8> = sqlx::query_scalar("SELECT body FROM incident_events WHERE seq = ?")
            .bind(seq)
            .fetch_one(&mut *connection)
            .await?;
        let incident = serde_json::from_slice(&body).map_err(|error| unreadable(*seq, &error))?;
        let columns = IncidentColumns::of(&incident).map_err(|error| unreadable(*seq, &error))?;
        // The stored bytes are kept unchanged.
        put_incident_row(&mut *connection, &IncidentColumns { body, ..columns }).await?;
    }
    Ok(last.len())
}

/// Keeps the cuts of an earlier version, which left no event about each of them.
async fn rebuild_cuts(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let (_, cuts) = walk_cuts(&mut *connection, &[], None).await?;
    for chain in Chain::ALL {
        let Some(table) = chain.cuts() else { continue };
        let kept = cuts.earlier(chain).map_or(0, |earlier| earlier.seq);
        let times = format!("SELECT at, cut_at FROM {table} WHERE seq = ?");
        let times: Option<(UnixMs, UnixMs)> = sqlx::query_as(sqlx::AssertSqlSafe(times))
            .bind(kept)
            .fetch_optional(&mut *connection)
            .await?;
        let removed = format!("DELETE FROM {table} WHERE seq >= ?");
        sqlx::query(sqlx::AssertSqlSafe(removed))
            .bind(kept)
            .execute(&mut *connection)
            .await?;
        for (seq, cut) in cuts.of(chain) {
            let hash = hex::decode(&cut.last.hash)
                .map_err(|error| sqlx::Error::Decode(error.to_string().into()))?;
            let times = cut.times.or(times).unwrap_or_default();
            record_cut(&mut *connection, table, seq, &hash, times).await?;
        }
    }
    Ok(())
}
