//! Edits of the record by somebody who can write its file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::tally::Tally;

/// Edits that `audit verify` must report.
const EDITS: [(&str, &str); 15] = [
    (
        "the body of an event",
        "UPDATE decision_events SET body = CAST(replace(CAST(body AS TEXT), 'no', 'on') AS BLOB) WHERE seq = 3",
    ),
    (
        "the kind of an event",
        "UPDATE decision_events SET kind = 'denied' WHERE seq = 3",
    ),
    (
        "an event from the middle",
        "DELETE FROM decision_events WHERE seq = 5",
    ),
    (
        "the first events",
        "DELETE FROM decision_events WHERE seq <= 4",
    ),
    ("all events", "DELETE FROM decision_events"),
    (
        "the first events, with a cut",
        "INSERT INTO cuts SELECT seq, hash, at, at FROM decision_events WHERE seq = 4; DELETE FROM decision_events WHERE seq <= 4",
    ),
    (
        "all events, with a cut",
        "INSERT INTO cuts SELECT seq, hash, at, at FROM decision_events ORDER BY seq DESC LIMIT 1; DELETE FROM decision_events",
    ),
    (
        "the body of a decision",
        "UPDATE decisions SET body = CAST(replace(CAST(body AS TEXT), 'a test', 'nothing') AS BLOB)",
    ),
    (
        "the state of a decision",
        "UPDATE decisions SET body = CAST(replace(CAST(body AS TEXT), '\"done\"', '\"denied\"') AS BLOB)",
    ),
    ("a decision", "DELETE FROM decisions WHERE rowid = 2"),
    ("all decisions", "DELETE FROM decisions"),
    ("the operations", "DELETE FROM operations"),
    (
        "the time of an operation",
        "UPDATE operations SET asked_at = asked_at - 100000000",
    ),
    ("a plugin event", "DELETE FROM plugin_events WHERE seq = 2"),
    (
        "a column of a decision",
        "UPDATE decisions SET solution = 'alarm'",
    ),
];

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    for number in 0..4 {
        service
            .client("admin")
            .act("no-action", &format!("a test {number}"))
            .await?;
        service
            .client("admin")
            .act("restart-service", "a test")
            .await?;
    }
    service.stop().await?;
    let data = service.path("data");
    let verify = |folder: &str| {
        let flag = format!("--data-dir={folder}");
        service.command(&["audit", "verify", &flag])
    };
    let (status, text) = verify(&data.display().to_string())?;
    tally.attempt(status.success(), || format!("an untouched record: {text}"));
    for (name, sql) in EDITS {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("history.sqlite");
        copy_record(&data, folder.path())?;
        let changed = edit(&copy, sql).await.with_context(|| name)?;
        if changed == 0 {
            tally.check(false, || format!("{name}: the edit changed no row"));
            continue;
        }
        let (status, text) = verify(&folder.path().display().to_string())?;
        tally.attempt(!status.success(), || {
            format!(
                "{name}: `audit verify` says {}",
                text.trim().replace('\n', " / ")
            )
        });
    }
    served(&mut service, &mut tally).await?;
    Ok(tally)
}

/// Copies the history with its write-ahead log.
fn copy_record(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("history.") {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Removes the triggers, and runs statements. Returns the number of changed rows.
async fn edit(file: &Path, sql: &str) -> Result<u64> {
    let mut connection = open(file).await?;
    let triggers = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .fetch_all(&mut connection)
        .await?;
    for trigger in triggers {
        let name: String = trigger.get(0);
        if !name.contains("fts") && !name.contains("text") {
            let drop = sqlx::AssertSqlSafe(format!("DROP TRIGGER \"{name}\""));
            sqlx::query(drop).execute(&mut connection).await?;
        }
    }
    let mut changed = 0;
    for statement in sql.split("; ") {
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await?;
        changed += done.rows_affected();
    }
    Ok(changed)
}

async fn open(file: &Path) -> Result<SqliteConnection> {
    Ok(SqliteConnectOptions::new().filename(file).connect().await?)
}

/// Starts a service on a record with edited decisions, and waits until it reports them.
async fn served(service: &mut Service, tally: &mut Tally) -> Result<()> {
    let file = service.path("data/history.sqlite");
    let (_, sql) = EDITS[7];
    edit(&file, sql).await?;
    service.launch().await?;
    let told = until(Duration::from_secs(30), async || {
        let health = service.health().await;
        health.is_ok_and(|health| health["status"] != "ok")
    })
    .await;
    tally.attempt(told, || {
        "the health of a service on an edited record is ok".to_owned()
    });
    Ok(())
}
