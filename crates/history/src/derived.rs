//! Comparison of the tables that are derived from the events with the events. The API, the command
//! line and the guard read these tables.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::chains::{Chain, Difference};
use super::columns::{EventColumns, OperationColumns};
use super::differs::{differs, edited};
use super::row_order;
use super::walked::Walked;
use super::word_index::WordIndex;
use anomalyzer_domain::{Incident, OperationRecord, UnixMs};

/// Number of decisions or incidents that are compared at a time.
const PAGE: i64 = 200;

/// Returns the first row that differs from the events of an intact chain.
pub(super) async fn difference(
    snapshot: &mut SqliteConnection,
    walked: &Walked,
) -> sqlx::Result<Option<Difference>> {
    let is_cut = walked.cut > 0;
    match walked.chain {
        Chain::Decisions => decisions(snapshot, is_cut).await,
        Chain::Incidents => incidents(snapshot, is_cut).await,
        Chain::Plugins | Chain::Cuts => Ok(None),
    }
}

/// Row of `decisions`, with the last event of the decision if there is one.
#[derive(sqlx::FromRow)]
struct DecisionRow {
    seq: i64,
    id: String,
    incident: Option<String>,
    target: Option<String>,
    namespace: Option<String>,
    solution: String,
    state: String,
    outcome: Option<String>,
    opened_at: UnixMs,
    decided_at: UnixMs,
    body: Vec<u8>,
    event_at: Option<UnixMs>,
    event_kind: Option<String>,
    event_body: Option<Vec<u8>>,
}

/// Row of `operations`.
#[derive(sqlx::FromRow)]
struct OperationRow {
    id: String,
    decision: String,
    target: Option<String>,
    solution: String,
    kind: String,
    asked_at: UnixMs,
    outcome: Option<String>,
    body: Vec<u8>,
}

const DECISIONS: &str = "
    SELECT decisions.seq, decisions.id, decisions.incident, decisions.target, decisions.namespace, decisions.solution, decisions.state,
           decisions.outcome, decisions.opened_at, decisions.decided_at, decisions.body,
           last.at AS event_at, last.kind AS event_kind, last.body AS event_body
    FROM decisions LEFT JOIN decision_events AS last
        ON last.seq = (SELECT max(seq) FROM decision_events WHERE decision = decisions.id)
    WHERE decisions.id > ?1 ORDER BY decisions.id LIMIT ?2";

const OPERATIONS: &str = "
    SELECT id, decision, target, solution, kind, asked_at, outcome, body FROM operations
    WHERE decision > ?1 AND (decision <= ?2 OR ?2 IS NULL)";

async fn decisions(
    snapshot: &mut SqliteConnection,
    is_cut: bool,
) -> sqlx::Result<Option<Difference>> {
    let mut after = String::new();
    let mut index = WordIndex::new().await?;
    loop {
        let rows: Vec<DecisionRow> = sqlx::query_as(DECISIONS)
            .bind(&after)
            .bind(PAGE)
            .fetch_all(&mut *snapshot)
            .await?;
        let last = rows.last().map(|row| row.id.clone());
        let mut expected = HashMap::new();
        let mut words = Vec::with_capacity(rows.len());
        for row in rows {
            match compare_decision(&row) {
                Ok(event) => {
                    let decision = &event.decision;
                    let operations = event.operations.iter().map(|operation| {
                        let id = operation.id.clone();
                        (id, expected_row(operation, &row.id, &decision.solution))
                    });
                    expected.extend(operations);
                    words.push((row.seq, row.id, event.words));
                }
                Err(what) => return Ok(Some(differs("decisions", row.id, what))),
            }
        }
        let operations: Vec<OperationRow> = sqlx::query_as(OPERATIONS)
            .bind(&after)
            .bind(&last)
            .fetch_all(&mut *snapshot)
            .await?;
        if let Some(difference) = compare_operations(expected, operations) {
            return Ok(Some(difference));
        }
        index.expect(words).await?;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    let missing = missing(
        snapshot,
        "decisions",
        "SELECT decision FROM decision_events WHERE NOT EXISTS (SELECT 1 FROM decisions WHERE id = decision) LIMIT 1",
    );
    if let Some(missing) = missing.await? {
        return Ok(Some(missing));
    }
    match row_order::decisions(&mut *snapshot, is_cut).await? {
        None => index.difference(snapshot).await,
        misplaced => Ok(misplaced),
    }
}

/// Returns an event without a row, as the difference of the table.
async fn missing(
    snapshot: &mut SqliteConnection,
    table: &'static str,
    query: &'static str,
) -> sqlx::Result<Option<Difference>> {
    let missing: Option<String> = sqlx::query_scalar(query)
        .fetch_optional(&mut *snapshot)
        .await?;
    Ok(missing.map(|row| differs(table, row, "it was removed")))
}

/// Returns the columns that the last event gives, or the reason why the row differs from them.
fn compare_decision(row: &DecisionRow) -> Result<EventColumns, String> {
    let (Some(at), Some(kind), Some(stored)) = (row.event_at, &row.event_kind, &row.event_body)
    else {
        return Err("there is no event about it: it was inserted".to_owned());
    };
    let event = EventColumns::recorded(kind, at, stored)
        .map_err(|error| format!("its last event can't be read: {error}"))?;
    let decision = &event.decision;
    let outcome = decision.verification.as_ref();
    let target = decision.target.as_ref();
    let columns = [
        ("id", row.id == decision.id.as_str()),
        (
            "incident",
            row.incident.as_deref() == decision.incident.as_ref().map(|id| id.as_str()),
        ),
        ("target", row.target == event.target),
        (
            "namespace",
            row.namespace.as_ref() == target.map(|target| &target.namespace),
        ),
        ("solution", row.solution == decision.solution),
        ("state", row.state == decision.state().as_str()),
        (
            "outcome",
            row.outcome.as_deref() == outcome.map(|verification| verification.outcome.as_str()),
        ),
        ("opened_at", row.opened_at == decision.opened_at),
        ("decided_at", row.decided_at == decision.decided_at),
        ("body", same(&row.body, &event.body, &**decision)),
    ];
    edited(&columns)?;
    Ok(event)
}

/// Returns true if the stored bytes are those of `expected`, or give the same value. Another
/// version may have written the same value in other bytes.
fn same<T: PartialEq + serde::de::DeserializeOwned>(
    stored: &[u8],
    bytes: &[u8],
    value: &T,
) -> bool {
    stored == bytes || serde_json::from_slice::<T>(stored).is_ok_and(|stored| stored == *value)
}

fn expected_row(operation: &OperationColumns, decision: &str, solution: &str) -> OperationRow {
    OperationRow {
        id: operation.id.clone(),
        decision: decision.to_owned(),
        target: operation.target.clone(),
        solution: solution.to_owned(),
        kind: operation.kind.clone(),
        asked_at: operation.asked_at,
        outcome: operation.outcome.clone(),
        body: operation.body.clone(),
    }
}

fn compare_operations(
    mut expected: HashMap<String, OperationRow>,
    stored: Vec<OperationRow>,
) -> Option<Difference> {
    for row in stored {
        let Some(expected) = expected.remove(&row.id) else {
            let what = "no event says so: it was inserted";
            return Some(differs("operations", row.id, what));
        };
        let body = row.body == expected.body
            || serde_json::from_slice::<OperationRecord>(&expected.body)
                .is_ok_and(|value| same(&row.body, &expected.body, &value));
        let columns = [
            ("decision", row.decision == expected.decision),
            ("target", row.target == expected.target),
            ("solution", row.solution == expected.solution),
            ("kind", row.kind == expected.kind),
            ("asked_at", row.asked_at == expected.asked_at),
            ("outcome", row.outcome == expected.outcome),
            ("body", body),
        ];
        if let Err(what) = edited(&columns) {
            return Some(differs("operations", row.id, what));
        }
    }
    let missing = expected.into_keys().min()?;
    Some(differs("operations", missing, "it was removed"))
}

/// Row of `incidents`, with the body of the last event of the incident if there is one.
#[derive(sqlx::FromRow)]
struct IncidentRow {
    id: String,
    target: String,
    opened_at: UnixMs,
    changed_at: UnixMs,
    cleared_at: Option<UnixMs>,
    body: Vec<u8>,
    event_body: Option<Vec<u8>>,
}

async fn incidents(
    snapshot: &mut SqliteConnection,
    is_cut: bool,
) -> sqlx::Result<Option<Difference>> {
    let mut after = String::new();
    loop {
        let rows: Vec<IncidentRow> = sqlx::query_as(
            "SELECT incidents.id, incidents.target, incidents.opened_at, incidents.changed_at, incidents.cleared_at,
                    incidents.body, last.body AS event_body
             FROM incidents LEFT JOIN incident_events AS last
                 ON last.seq = (SELECT max(seq) FROM incident_events WHERE incident = incidents.id)
             WHERE incidents.id > ?1 ORDER BY incidents.id LIMIT ?2",
        )
        .bind(&after)
        .bind(PAGE)
        .fetch_all(&mut *snapshot)
        .await?;
        let Some(last) = rows.last().map(|row| row.id.clone()) else {
            break;
        };
        for row in rows {
            if let Err(what) = compare_incident(&row) {
                return Ok(Some(differs("incidents", row.id, what)));
            }
        }
        after = last;
    }
    let missing = missing(
        snapshot,
        "incidents",
        "SELECT incident FROM incident_events WHERE NOT EXISTS (SELECT 1 FROM incidents WHERE id = incident) LIMIT 1",
    );
    match missing.await? {
        None => row_order::incidents(snapshot, is_cut).await,
        missing => Ok(missing),
    }
}

fn compare_incident(row: &IncidentRow) -> Result<(), String> {
    let Some(stored) = &row.event_body else {
        return Err("there is no event about it: it was inserted".to_owned());
    };
    let incident: Incident = serde_json::from_slice(stored)
        .map_err(|error| format!("its last event can't be read: {error}"))?;
    edited(&[
        ("id", row.id == incident.id.as_str()),
        ("target", row.target == incident.target.to_string()),
        ("opened_at", row.opened_at == incident.opened_at),
        ("changed_at", row.changed_at == incident.changed_at),
        ("cleared_at", row.cleared_at == incident.cleared_at),
        ("body", same(&row.body, stored, &incident)),
    ])
}
