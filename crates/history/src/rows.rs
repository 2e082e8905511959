//! SQL statements that write a record's rows, inside the writer's transaction.

use sqlx::SqliteTransaction;

use super::chain::{self, GENESIS, Hash, Link};
use super::columns::{EventColumns, IncidentColumns, PluginColumns};
use anomalyzer_domain::UnixMs;

/// Stores the offset up to which the log of record is in the file.
pub(super) async fn read_up_to(
    transaction: &mut SqliteTransaction<'_>,
    topic: &str,
    next: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO read_up_to (topic, next) VALUES (?, ?) ON CONFLICT (topic) DO UPDATE SET next = excluded.next",
    )
    .bind(topic)
    .bind(next)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Returns the sequence number and the hash of the last event of the chain of decisions.
pub(super) async fn last_link(
    transaction: &mut SqliteTransaction<'_>,
) -> sqlx::Result<(i64, Hash)> {
    let last: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM decision_events ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **transaction)
            .await?;
    let last = match last {
        // All events were pruned, or the log of record does not contain the earliest events.
        None => {
            sqlx::query_as("SELECT seq, hash FROM cuts ORDER BY seq DESC LIMIT 1")
                .fetch_optional(&mut **transaction)
                .await?
        }
        last => last,
    };
    // The table checks the length of the hash, so the conversion can't fail.
    Ok(last.map_or((0, GENESIS), |(seq, hash)| {
        (seq, hash.try_into().unwrap_or(GENESIS))
    }))
}

/// Appends an event to the chain of decisions, and updates the rows of its decision. Returns the
/// sequence number and the hash of the event.
pub(super) async fn append(
    transaction: &mut SqliteTransaction<'_>,
    (last, previous): (i64, Hash),
    event: &EventColumns,
) -> sqlx::Result<(i64, Hash)> {
    let decision = &event.decision;
    let (seq, id) = (last + 1, decision.id.as_str());
    let hash = chain::hash(
        &previous,
        &Link {
            seq,
            decision: id,
            at: event.at,
            kind: event.kind,
            body: event.event(),
        },
    );
    // All statements are sent as one text, because each separate statement costs a round trip to
    // the thread of the connection.
    let mut sql = APPEND.to_owned();
    for _ in &event.operations {
        sql.push_str(PUT_OPERATION);
    }
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(seq)
        .bind(id)
        .bind(event.at)
        .bind(event.kind)
        .bind(event.event())
        .bind(&previous[..])
        .bind(&hash[..])
        .bind(id)
        .bind(decision.incident.as_ref().map(ToString::to_string))
        .bind(&event.target)
        .bind(decision.target.as_ref().map(|target| &target.namespace))
        .bind(&decision.solution)
        .bind(decision.state().as_str())
        .bind(
            decision
                .verification
                .as_ref()
                .map(|verification| verification.outcome.as_str()),
        )
        .bind(decision.opened_at)
        .bind(decision.decided_at)
        .bind(&event.body)
        .bind(id)
        .bind(&event.words);
    for operation in &event.operations {
        query = query
            .bind(&operation.id)
            .bind(id)
            .bind(&operation.target)
            .bind(&decision.solution)
            .bind(&operation.kind)
            .bind(operation.asked_at)
            .bind(&operation.outcome)
            .bind(&operation.body);
    }
    query.execute(&mut **transaction).await?;
    Ok((seq, hash))
}

const APPEND: &str = "
    INSERT INTO decision_events (seq, decision, at, kind, body, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?);
    INSERT INTO decisions (id, incident, target, namespace, solution, state, outcome, opened_at, decided_at, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET
            incident = excluded.incident, target = excluded.target, namespace = excluded.namespace,
            solution = excluded.solution, state = excluded.state, outcome = excluded.outcome,
            opened_at = excluded.opened_at, decided_at = excluded.decided_at, body = excluded.body;
    INSERT OR REPLACE INTO decision_text (rowid, words) VALUES ((SELECT seq FROM decisions WHERE id = ?), ?);";

const PUT_OPERATION: &str = "
    INSERT OR REPLACE INTO operations (id, decision, target, solution, kind, asked_at, outcome, body)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?);";

/// Inserts an incident, or updates it if the given state is not older than the stored one.
pub(super) async fn put_incident(
    transaction: &mut SqliteTransaction<'_>,
    incident: &IncidentColumns,
) -> sqlx::Result<i64> {
    sqlx::query(
        "INSERT INTO incidents (id, target, opened_at, changed_at, cleared_at, body) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET
             target = excluded.target, opened_at = excluded.opened_at, changed_at = excluded.changed_at,
             cleared_at = excluded.cleared_at, body = excluded.body
         WHERE excluded.changed_at >= changed_at",
    )
    .bind(&incident.id)
    .bind(&incident.target)
    .bind(incident.opened_at)
    .bind(incident.changed_at)
    .bind(incident.cleared_at)
    .bind(&incident.body)
    .execute(&mut **transaction)
    .await?;
    sqlx::query_scalar("SELECT seq FROM incidents WHERE id = ?")
        .bind(&incident.id)
        .fetch_one(&mut **transaction)
        .await
}

/// Appends a change of a plugin to the chain of the plugins.
pub(super) async fn append_plugin_change(
    transaction: &mut SqliteTransaction<'_>,
    change: &PluginColumns,
) -> sqlx::Result<i64> {
    let last: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM plugin_events ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut **transaction)
            .await?;
    let (last, previous): (i64, Hash) = last.map_or((0, GENESIS), |(seq, hash)| {
        (seq, hash.try_into().unwrap_or(GENESIS))
    });
    let PluginColumns {
        plugin,
        at,
        kind,
        body,
    } = change;
    let seq = last + 1;
    let hash = chain::hash(
        &previous,
        &Link {
            seq,
            decision: plugin,
            at: *at,
            kind,
            body,
        },
    );
    sqlx::query(
        "INSERT INTO plugin_events (seq, plugin, at, kind, body, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(seq)
    .bind(plugin)
    .bind(at)
    .bind(kind)
    .bind(body)
    .bind(previous.to_vec())
    .bind(hash.to_vec())
    .execute(&mut **transaction)
    .await?;
    Ok(seq)
}

/// Prunes all events up to and including `until`.
pub(super) async fn prune_up_to(
    transaction: &mut SqliteTransaction<'_>,
    until: i64,
    now: UnixMs,
) -> sqlx::Result<i64> {
    sqlx::query(
        "INSERT INTO cuts (seq, hash, at, cut_at) SELECT seq, hash, at, ?2 FROM decision_events WHERE seq = ?1",
    )
    .bind(until)
    .bind(now)
    .execute(&mut **transaction)
    .await?;
    let over = "SELECT DISTINCT decision FROM decision_events AS old WHERE seq <= ?1
                AND NOT EXISTS (SELECT 1 FROM decision_events AS newer WHERE newer.decision = old.decision AND newer.seq > ?1)";
    for what in [
        format!("DELETE FROM decision_text WHERE rowid IN (SELECT seq FROM decisions WHERE id IN ({over}))"),
        format!("DELETE FROM operations WHERE decision IN ({over})"),
        format!(
            "DELETE FROM incidents WHERE cleared_at IS NOT NULL
             AND id IN (SELECT incident FROM decisions WHERE id IN ({over}))
             AND NOT EXISTS (SELECT 1 FROM decisions WHERE incident = incidents.id AND id NOT IN ({over}))"
        ),
        format!("DELETE FROM decisions WHERE id IN ({over})"),
        "DELETE FROM decision_events WHERE seq <= ?1".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(what)).bind(until).execute(&mut **transaction).await?;
    }
    Ok(until)
}
