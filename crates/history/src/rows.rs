//! SQL statements that write a record's rows, inside the writer's transaction.

use sqlx::{SqliteConnection, SqliteTransaction};

use super::chain::{self, GENESIS, Hash, Link};
use super::chains::Chain;
use super::columns::{EventColumns, IncidentColumns, PluginColumns};
use super::cuts::{BEGUN, Begun, CUT, Cut, CutReason, LOG_START, Position};
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

/// Returns the sequence number and hash of the event that the next one of a chain follows.
pub(super) async fn last_link(
    connection: &mut SqliteConnection,
    chain: Chain,
) -> sqlx::Result<(i64, Hash)> {
    let tables = [Some(chain.table()), chain.cuts()];
    for table in tables.into_iter().flatten() {
        let query = format!("SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1");
        let last: Option<(i64, Vec<u8>)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .fetch_optional(&mut *connection)
            .await?;
        if let Some((seq, hash)) = last {
            // The table checks the length of the hash, so the conversion can't fail.
            return Ok((seq, hash.try_into().unwrap_or(GENESIS)));
        }
        // All events were pruned, or the log of record does not contain the earliest events.
    }
    Ok((0, GENESIS))
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
    let mut sql = format!("{PUT_EVENT}{PUT_DECISION}");
    event
        .operations
        .iter()
        .for_each(|_| sql.push_str(PUT_OPERATION));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(seq)
        .bind(id)
        .bind(event.at)
        .bind(event.kind)
        .bind(event.event())
        .bind(&previous[..])
        .bind(&hash[..]);
    bind_state(query, event).execute(&mut **transaction).await?;
    Ok((seq, hash))
}

/// Writes the rows that are derived from the last event of a decision.
pub(super) async fn put_state(
    connection: &mut SqliteConnection,
    event: &EventColumns,
) -> sqlx::Result<()> {
    let mut sql = PUT_DECISION.to_owned();
    event
        .operations
        .iter()
        .for_each(|_| sql.push_str(PUT_OPERATION));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
    bind_state(query, event).execute(connection).await?;
    Ok(())
}

type Query<'query> = sqlx::query::Query<'query, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds the values of [`PUT_DECISION`], and of [`PUT_OPERATION`] for each operation.
fn bind_state<'query>(query: Query<'query>, event: &'query EventColumns) -> Query<'query> {
    let decision = &event.decision;
    let id = decision.id.as_str();
    let verification = decision.verification.as_ref();
    let mut query = query
        .bind(id)
        .bind(decision.incident.as_ref().map(ToString::to_string))
        .bind(&event.target)
        .bind(decision.target.as_ref().map(|target| &target.namespace))
        .bind(&decision.solution)
        .bind(decision.state().as_str())
        .bind(verification.map(|verification| verification.outcome.as_str()))
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
    query
}

const PUT_EVENT: &str = "
    INSERT INTO decision_events (seq, decision, at, kind, body, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?);";

const PUT_DECISION: &str = "
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

/// Records a state of an incident, unless it is older than the recorded one or equal to it.
pub(super) async fn put_incident(
    transaction: &mut SqliteTransaction<'_>,
    incident: &IncidentColumns,
    now: UnixMs,
) -> sqlx::Result<i64> {
    let put = put_incident_row(transaction, incident).await?;
    if put {
        let IncidentColumns { id, kind, body, .. } = incident;
        append_link(transaction, Chain::Incidents, id, now, kind, body).await?;
    }
    sqlx::query_scalar("SELECT seq FROM incidents WHERE id = ?")
        .bind(&incident.id)
        .fetch_one(&mut **transaction)
        .await
}

/// Writes the row of an incident. Returns false if the row is newer or equal.
pub(super) async fn put_incident_row(
    connection: &mut SqliteConnection,
    incident: &IncidentColumns,
) -> sqlx::Result<bool> {
    let put = sqlx::query(
        "INSERT INTO incidents (id, target, opened_at, changed_at, cleared_at, body) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET
             target = excluded.target, opened_at = excluded.opened_at, changed_at = excluded.changed_at,
             cleared_at = excluded.cleared_at, body = excluded.body
         WHERE excluded.changed_at >= changed_at AND excluded.body != body",
    )
    .bind(&incident.id)
    .bind(&incident.target)
    .bind(incident.opened_at)
    .bind(incident.changed_at)
    .bind(incident.cleared_at)
    .bind(&incident.body)
    .execute(connection)
    .await?;
    Ok(put.rows_affected() > 0)
}

/// Appends a change of a plugin to the chain of the plugins.
pub(super) async fn append_plugin_change(
    transaction: &mut SqliteTransaction<'_>,
    change: &PluginColumns,
) -> sqlx::Result<i64> {
    let PluginColumns {
        plugin,
        at,
        kind,
        body,
    } = change;
    append_link(transaction, Chain::Plugins, plugin, *at, kind, body).await
}

/// Appends an event to the end of a chain.
pub(super) async fn append_link(
    connection: &mut SqliteConnection,
    chain: Chain,
    subject: &str,
    at: UnixMs,
    kind: &str,
    body: &[u8],
) -> sqlx::Result<i64> {
    let (last, previous) = last_link(&mut *connection, chain).await?;
    let seq = last + 1;
    let link = Link {
        seq,
        decision: subject,
        at,
        kind,
        body,
    };
    let hash = chain::hash(&previous, &link);
    let query = format!(
        "INSERT INTO {} (seq, {}, at, kind, body, prev_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        chain.table(),
        chain.subject()
    );
    sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(seq)
        .bind(subject)
        .bind(at)
        .bind(kind)
        .bind(body)
        .bind(&previous[..])
        .bind(&hash[..])
        .execute(connection)
        .await?;
    Ok(seq)
}

/// Begins the chains that an earlier version did not have, with the state that it left. Does
/// nothing if they have begun.
pub(super) async fn begin_chains(
    connection: &mut SqliteConnection,
    now: UnixMs,
) -> sqlx::Result<()> {
    if last_link(&mut *connection, Chain::Cuts).await?.0 > 0 {
        return Ok(());
    }
    let cut: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM cuts ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await?;
    let cut = cut.map(|(seq, hash)| Position {
        seq,
        hash: hex::encode(hash),
    });
    let body = json(&Begun { cut })?;
    append_link(&mut *connection, Chain::Cuts, "history", now, BEGUN, &body).await?;
    let mut after = 0;
    loop {
        let incidents: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, id, body FROM incidents WHERE seq > ? ORDER BY seq LIMIT 256",
        )
        .bind(after)
        .fetch_all(&mut *connection)
        .await?;
        let Some((last, ..)) = incidents.last() else {
            return Ok(());
        };
        after = *last;
        for (_, id, body) in &incidents {
            append_link(&mut *connection, Chain::Incidents, id, now, "adopted", body).await?;
        }
    }
}

fn json(value: &impl serde::Serialize) -> sqlx::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Records that the events of a chain up to and including `until` are pruned, and allows their
/// deletion.
async fn cut(
    connection: &mut SqliteConnection,
    chain: Chain,
    until: i64,
    reason: CutReason,
    now: UnixMs,
) -> sqlx::Result<()> {
    let Some(table) = chain.cuts() else {
        return Ok(());
    };
    let query = format!("SELECT hash, at FROM {} WHERE seq = ?", chain.table());
    let (hash, last_at): (Vec<u8>, UnixMs) = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(until)
        .fetch_one(&mut *connection)
        .await?;
    record_cut(&mut *connection, table, until, &hash, (last_at, now)).await?;
    let last = Position {
        seq: until,
        hash: hex::encode(hash),
    };
    let body = json(&Cut {
        last,
        last_at,
        reason,
    })?;
    append_link(connection, Chain::Cuts, chain.as_str(), now, CUT, &body).await?;
    Ok(())
}

/// Writes the row of a cut. `times` holds the time of the last pruned event, and of the cut.
pub(super) async fn record_cut(
    connection: &mut SqliteConnection,
    table: &str,
    until: i64,
    hash: &[u8],
    times: (UnixMs, UnixMs),
) -> sqlx::Result<()> {
    let query = format!("INSERT INTO {table} (seq, hash, at, cut_at) VALUES (?, ?, ?, ?)");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(until)
        .bind(hash)
        .bind(times.0)
        .bind(times.1)
        .execute(connection)
        .await?;
    Ok(())
}

/// Records that the log of record begins after the event `until`.
pub(super) async fn record_log_start(
    connection: &mut SqliteConnection,
    until: i64,
    hash: &Hash,
    (at, now): (UnixMs, UnixMs),
) -> sqlx::Result<()> {
    record_cut(&mut *connection, "cuts", until, hash, (at, now)).await?;
    let last = Position {
        seq: until,
        hash: hex::encode(hash),
    };
    let body = json(&Cut {
        last,
        last_at: at,
        reason: CutReason::default(),
    })?;
    append_link(connection, Chain::Cuts, "decisions", now, LOG_START, &body).await?;
    Ok(())
}

/// Prunes all events of a chain up to and including `until`, with the rows that no later event is
/// about.
pub(super) async fn prune_up_to(
    connection: &mut SqliteConnection,
    chain: Chain,
    until: i64,
    reason: CutReason,
    now: UnixMs,
) -> sqlx::Result<i64> {
    cut(&mut *connection, chain, until, reason, now).await?;
    let over = "SELECT DISTINCT decision FROM decision_events AS old WHERE seq <= ?1
                AND NOT EXISTS (SELECT 1 FROM decision_events AS newer WHERE newer.decision = old.decision AND newer.seq > ?1)";
    let statements = match chain {
        Chain::Decisions => vec![
            format!("DELETE FROM decision_text WHERE rowid IN (SELECT seq FROM decisions WHERE id IN ({over}))"),
            format!("DELETE FROM operations WHERE decision IN ({over})"),
            format!("DELETE FROM decisions WHERE id IN ({over})"),
            "DELETE FROM decision_events WHERE seq <= ?1".to_owned(),
        ],
        Chain::Incidents => vec![
            "DELETE FROM incidents WHERE id IN (
                 SELECT DISTINCT incident FROM incident_events AS old WHERE seq <= ?1
                 AND NOT EXISTS (SELECT 1 FROM incident_events AS newer WHERE newer.incident = old.incident AND newer.seq > ?1))".to_owned(),
            "DELETE FROM incident_events WHERE seq <= ?1".to_owned(),
        ],
        Chain::Plugins | Chain::Cuts => vec![],
    };
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(until)
            .execute(&mut *connection)
            .await?;
    }
    Ok(until)
}
