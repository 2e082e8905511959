//! Tests of `anomalyzer audit` on the file of a history.

use std::process::Command;

use anomalyzer::cli::audit::{AuditCommand, AuditError, run};
use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{Incident, IncidentEvent, IncidentEventKind};
use anomalyzer_history::DecisionEventKind::{Ended, Proposed};
use anomalyzer_history::{
    AuditConfig, FILE_NAME, HEADS_FILE_NAME, History, HistoryOptions, OnMismatch, RetentionConfig,
    retain_once,
};
use clap::Parser;
use sqlx::{Connection, SqliteConnection};

use crate::fixture::{NOON, Place, done, incident, proposed};

#[derive(Parser)]
struct Binary {
    #[command(flatten)]
    audit: AuditCommand,
}

async fn audit(folder: &std::path::Path, arguments: &[&str]) -> Result<(bool, String), AuditError> {
    let folder = folder.display().to_string();
    let arguments = ["audit"]
        .iter()
        .chain(arguments)
        .copied()
        .chain(["--data-dir", &folder]);
    let mut out = Vec::new();
    let good = run(Binary::try_parse_from(arguments).unwrap().audit, &mut out).await?;
    Ok((good, String::from_utf8(out).unwrap()))
}

async fn place() -> Place {
    let place = Place::new().await;
    place.record(Proposed, proposed(1)).await;
    place.record(Proposed, proposed(2)).await;
    place.record(Ended, done(1)).await;
    place
}

async fn tamper(place: &Place, what: &'static str) {
    let mut file = SqliteConnection::connect(&format!("sqlite://{}", place.file().display()))
        .await
        .unwrap();
    for trigger in ["changed", "deleted"] {
        let drop = format!("DROP TRIGGER decision_events_are_never_{trigger}");
        sqlx::query(sqlx::AssertSqlSafe(drop))
            .execute(&mut file)
            .await
            .unwrap();
    }
    sqlx::query(what).execute(&mut file).await.unwrap();
}

#[tokio::test]
async fn an_edited_event_is_named_while_the_history_is_open() {
    let place = place().await;
    let (good, text) = audit(place.folder.path(), &["verify"]).await.unwrap();
    assert!(
        good && text.contains("decisions: intact\n  events that hold: 3,"),
        "{text}"
    );
    tamper(
        &place,
        "UPDATE decision_events SET at = at + 1 WHERE seq = 2",
    )
    .await;
    let (good, text) = audit(place.folder.path(), &["verify"]).await.unwrap();
    let id = proposed(2).id;
    assert!(
        !good && text.contains(&format!("decisions: BROKEN at event 2 ({})", id.as_str())),
        "{text}"
    );
}

#[tokio::test]
async fn a_removed_end_is_found_by_the_tables_and_with_the_anchor_that_was_printed() {
    let place = place().await;
    let (_, anchors) = audit(place.folder.path(), &["anchor"]).await.unwrap();
    let file = place.folder.path().join("anchors.jsonl");
    std::fs::write(&file, anchors).unwrap();
    let with_anchor = ["verify", "--anchor", file.to_str().unwrap()];
    assert!(audit(place.folder.path(), &with_anchor).await.unwrap().0);
    tamper(&place, "DELETE FROM decision_events WHERE seq = 3").await;
    let (good, text) = audit(place.folder.path(), &["verify"]).await.unwrap();
    assert!(
        !good && text.contains("the table decisions DIFFERS"),
        "{text}"
    );
    // The chain itself is intact without its end, and the tables can be edited too.
    assert!(place.history.verify_chain().await.is_ok());
    let (good, text) = audit(place.folder.path(), &with_anchor).await.unwrap();
    assert!(!good && text.contains("BROKEN at event 3"), "{text}");
}

#[tokio::test]
async fn the_script_of_the_documentation_verifies_an_export() {
    let place = place().await;
    let (_, export) = audit(place.folder.path(), &["export"]).await.unwrap();
    let file = place.folder.path().join("export.jsonl");
    let verify = |export: &str| {
        std::fs::write(&file, export).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify_audit.py");
        let output = Command::new("python3").arg(script).arg(&file).output();
        output.expect("python3 is needed to try docs/verify_audit.py; install it")
    };
    let good = verify(&export);
    assert!(good.status.success(), "{good:?}");
    assert!(
        String::from_utf8_lossy(&good.stdout).starts_with("decisions: holds up to event 3, head "),
        "{good:?}"
    );
    // Remove the beginning of the export, as if old events had been pruned.
    let (_, rest) = export.split_once('\n').unwrap();
    let rest = verify(rest);
    assert!(rest.status.success(), "{rest:?}");
    assert!(
        String::from_utf8_lossy(&rest.stdout).starts_with("decisions: begins at event 2: "),
        "{rest:?}"
    );
    let bad = verify(&export.replacen("number 2", "number 7", 1));
    assert!(
        !bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("line 2"),
        "{bad:?}"
    );
}

#[tokio::test]
async fn a_missing_file_and_a_foreign_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let error = audit(folder.path(), &["verify"])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no such file"), "{error}");
    std::fs::write(folder.path().join("history.sqlite"), "x".repeat(5000)).unwrap();
    let error = audit(folder.path(), &["verify"])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not an SQLite database"), "{error}");
}

/// Returns a history with decisions, operations and incidents.
async fn full_place() -> Place {
    let place = place().await;
    place.record(Ended, done(2)).await;
    for (n, cleared) in [(1, None), (2, None), (2, Some(NOON + 900_000))] {
        let mut incident = incident(n);
        incident.cleared_at = cleared;
        incident.changed_at = cleared.unwrap_or(incident.changed_at);
        let recorded = place.history.record_incident(&changed(incident)).await;
        recorded.unwrap();
    }
    place
}

fn changed(incident: Incident) -> IncidentEvent {
    IncidentEvent {
        kind: IncidentEventKind::Changed,
        at: incident.changed_at,
        incident,
        evidence: vec![],
        attempt: 0,
        witnesses: vec![],
    }
}

/// Edits the file as somebody would who can write it.
async fn edit(place: &Place, statements: &str) {
    let url = format!("sqlite://{}", place.file().display());
    let mut file = SqliteConnection::connect(&url).await.unwrap();
    let triggers: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .fetch_all(&mut file)
            .await
            .unwrap();
    for trigger in triggers {
        let drop = sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}"));
        sqlx::query(drop).execute(&mut file).await.unwrap();
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut file)
        .await
        .unwrap();
    file.close().await.unwrap();
}

/// Edits of the tables that are derived from the events.
const TABLE_EDITS: [&str; 22] = [
    "UPDATE decisions SET body = CAST(replace(CAST(body AS TEXT), 'number 1', 'number 7') AS BLOB) WHERE seq = 1",
    "UPDATE decisions SET body = CAST(replace(CAST(body AS TEXT), '0.8', '0.9') AS BLOB) WHERE seq = 1",
    "UPDATE decisions SET body = CAST('{}' AS BLOB)",
    "UPDATE decisions SET state = 'denied' WHERE seq = 1",
    "UPDATE decisions SET outcome = 'worse'",
    "UPDATE decisions SET outcome = NULL",
    "UPDATE decisions SET solution = 'alarm'",
    "UPDATE decisions SET target = 'default/shop/Deployment/db'",
    "UPDATE decisions SET namespace = 'pay'",
    "UPDATE decisions SET incident = NULL",
    "UPDATE decisions SET opened_at = opened_at + 1",
    "UPDATE decisions SET decided_at = 0",
    "DELETE FROM decisions WHERE seq = 1",
    "DELETE FROM decisions",
    "INSERT INTO decisions SELECT 99, 'dec-x', incident, target, namespace, solution, state, outcome, opened_at, decided_at, body
         FROM decisions WHERE seq = 1",
    "DELETE FROM operations",
    "UPDATE operations SET asked_at = asked_at - 3600000",
    "UPDATE operations SET outcome = 'failed'",
    "INSERT INTO operations SELECT 'op-x', decision, target, solution, kind, asked_at, outcome, body FROM operations LIMIT 1",
    "DELETE FROM incidents WHERE cleared_at IS NOT NULL",
    "UPDATE incidents SET cleared_at = NULL",
    "UPDATE incidents SET body = CAST(replace(CAST(body AS TEXT), 'web', 'db') AS BLOB)",
];

/// Edits of the events and of the cuts.
const CHAIN_EDITS: [&str; 12] = [
    "INSERT INTO cuts SELECT seq, hash, at, 0 FROM decision_events ORDER BY seq DESC LIMIT 1; DELETE FROM decision_events",
    "INSERT INTO cuts SELECT seq, hash, at, 0 FROM decision_events WHERE seq = 2; DELETE FROM decision_events WHERE seq <= 2",
    "INSERT INTO cuts SELECT seq, hash, at, 0 FROM decision_events WHERE seq = 2; DELETE FROM decision_events WHERE seq <= 2;
     DELETE FROM cut_events",
    "INSERT INTO incident_cuts SELECT seq, hash, at, 0 FROM incident_events WHERE seq = 1; DELETE FROM incident_events WHERE seq = 1",
    "UPDATE decision_events SET body = CAST(replace(CAST(body AS TEXT), '0.8', '0.9') AS BLOB) WHERE seq = 2",
    "DELETE FROM decision_events WHERE seq = 2",
    "DELETE FROM decision_events WHERE seq = 4",
    "DELETE FROM incident_events WHERE seq = 3",
    "UPDATE incident_events SET at = at + 1",
    "DELETE FROM incident_events",
    "DELETE FROM cut_events",
    "UPDATE cut_events SET body = CAST('{\"cut\":{\"seq\":4,\"hash\":\"00\"}}' AS BLOB)",
];

#[tokio::test]
async fn every_edit_of_a_table_is_found_and_undone_by_a_rebuild() {
    for edited in TABLE_EDITS {
        let place = full_place().await;
        let folder = place.folder.path();
        let before = place.history.decision(&done(1).id).await.unwrap();
        edit(&place, edited).await;
        let (good, text) = audit(folder, &["verify"]).await.unwrap();
        assert!(!good && text.contains("DIFFERS"), "{edited}: {text}");
        let found = place
            .history
            .verify_once(&AuditConfig::default(), NOON)
            .await;
        assert!(found.mismatch.is_some(), "{edited}");
        assert_eq!(place.history.mismatch(), found.mismatch, "{edited}");

        place.history.close().await;
        let (_, text) = audit(folder, &["rebuild"]).await.unwrap();
        assert!(text.contains("2 decisions, 2 incidents"), "{text}");
        let (good, text) = audit(folder, &["verify"]).await.unwrap();
        assert!(good, "{edited}: {text}");
        let history = History::open(
            &place.file(),
            HistoryOptions::default(),
            &Metrics::default(),
        )
        .await
        .unwrap();
        assert_eq!(history.decision(&done(1).id).await.unwrap(), before);
        let words = anomalyzer_history::Filter {
            text: Some("latency".to_owned()),
            ..Default::default()
        };
        let (found, _) = history.decisions(&words, Default::default()).await.unwrap();
        assert_eq!(found.len(), 2, "{edited}");
        history.close().await;
    }
}

/// Edits of the index of words, and of the tables in which SQLite keeps it.
const WORD_EDITS: [&str; 8] = [
    "INSERT OR REPLACE INTO decision_text (rowid, words) VALUES (1, 'nothing')",
    "DELETE FROM decision_text WHERE rowid = 1",
    "INSERT INTO decision_text (rowid, words) VALUES (99, 'nothing')",
    "DELETE FROM decision_text_docsize",
    "UPDATE decision_text_docsize SET sz = x'01' WHERE id = 1",
    "DELETE FROM decision_text_data WHERE id > 10",
    "UPDATE decision_text_data SET block = zeroblob(length(block)) WHERE id > 10",
    "UPDATE decision_text_config SET v = 3",
];

/// Returns an edit of the first row for each column of a table, with the name of the column.
async fn edits_of(place: &Place, table: &str) -> Vec<(String, String)> {
    let url = format!("sqlite://{}", place.file().display());
    let mut file = SqliteConnection::connect(&url).await.unwrap();
    let query = format!("SELECT name, type FROM pragma_table_info('{table}') ORDER BY cid");
    let columns: Vec<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .fetch_all(&mut file)
        .await
        .unwrap();
    file.close().await.unwrap();
    let key = columns[0].0.clone();
    let edits = columns.into_iter().map(|(column, kind)| {
        let other = match (kind.as_str(), column.as_str()) {
            ("INTEGER", _) => format!("coalesce({column}, 0) + 1000"),
            ("TEXT", _) => "'x'".to_owned(),
            (_, "hash") => "zeroblob(32)".to_owned(),
            _ => "CAST('{}' AS BLOB)".to_owned(),
        };
        let edit = format!(
            "UPDATE {table} SET {column} = {other} WHERE {key} = (SELECT min({key}) FROM {table})"
        );
        (column, edit)
    });
    edits.collect()
}

/// Edits a history, and asserts that its verification names the table and the remedy, and that a
/// rebuild puts it right.
async fn is_found_and_undone(place: Place, table: &str, edited: &str) -> String {
    let folder = place.folder.path();
    edit(&place, edited).await;
    place.history.close().await;
    let (good, found) = audit(folder, &["verify"]).await.unwrap();
    assert!(!good, "{edited}");
    let named = found.contains(&format!("the table {table} DIFFERS at "));
    assert!(named && !found.contains("BROKEN"), "{edited}: {found}");
    assert!(
        found.contains("remedy: ") && found.contains("audit rebuild"),
        "{edited}: {found}"
    );
    audit(folder, &["rebuild"]).await.unwrap();
    let (good, text) = audit(folder, &["verify"]).await.unwrap();
    assert!(good, "{edited}: {text}");
    found
}

/// Returns a history whose retention has cut off decisions and incidents.
async fn cut_place() -> Place {
    let place = full_place().await;
    let keep = RetentionConfig {
        keep_for: Some(std::time::Duration::ZERO),
        max_bytes: None,
    };
    for n in 3..6 {
        place.record(Proposed, proposed(n)).await;
        place.record(Ended, done(n)).await;
    }
    for n in [1, 3, 4, 5] {
        let mut incident = incident(n);
        incident.cleared_at = Some(NOON + 900_000);
        incident.changed_at = NOON + 900_000;
        place
            .history
            .record_incident(&changed(incident))
            .await
            .unwrap();
    }
    let later = anomalyzer_common::clock::now_ms() + 365 * 86_400_000;
    assert!(retain_once(&keep, &place.history, later).await.unwrap() > 0);
    place
}

#[tokio::test]
async fn an_edit_of_any_column_of_any_derived_table_is_named_and_undone_by_a_rebuild() {
    let whole = full_place().await;
    for table in ["decisions", "operations", "incidents"] {
        for (column, edited) in edits_of(&whole, table).await {
            let found = is_found_and_undone(full_place().await, table, &edited).await;
            // An edit of an id looks like a row that was inserted and one that was removed.
            let named = found.contains(&format!("its column `{column}` "));
            let as_row = found.contains("it was inserted") || found.contains("it was removed");
            assert!(named || as_row, "{edited}: {found}");
        }
    }
    let cut = cut_place().await;
    for table in ["cuts", "incident_cuts"] {
        let edits = edits_of(&cut, table).await;
        assert_eq!(edits.len(), 4, "{table}");
        for (_, edited) in edits {
            is_found_and_undone(cut_place().await, table, &edited).await;
        }
        let removed = format!("DELETE FROM {table}");
        is_found_and_undone(cut_place().await, table, &removed).await;
    }
    for edited in WORD_EDITS {
        is_found_and_undone(full_place().await, "decision_text", edited).await;
    }
    // A search needs this table only if the index has many pages.
    let large = full_place().await;
    for n in 10..150 {
        large.record(Proposed, proposed(n)).await;
    }
    let edited = "INSERT INTO decision_text (decision_text) VALUES ('optimize'); DELETE FROM decision_text_idx";
    is_found_and_undone(large, "decision_text", edited).await;
}

#[tokio::test]
async fn a_history_that_was_written_cut_and_rebuilt_is_whole_at_each_step() {
    let mut place = cut_place().await;
    for n in 0..3 {
        let (good, text) = audit(place.folder.path(), &["verify"]).await.unwrap();
        assert!(good, "{text}");
        place.record(Proposed, proposed(20 + n)).await;
        place.record(Ended, done(2)).await;
        place.record(Ended, done(20 + n)).await;
        place.history.close().await;
        let (good, text) = audit(place.folder.path(), &["verify"]).await.unwrap();
        assert!(good, "{text}");
        audit(place.folder.path(), &["rebuild"]).await.unwrap();
        place.reopen(HistoryOptions::default()).await;
    }
}

#[tokio::test]
async fn every_edit_of_a_chain_is_found_also_with_a_cut_that_nobody_recorded() {
    for edited in CHAIN_EDITS {
        let place = full_place().await;
        let folder = place.folder.path();
        let (_, anchors) = audit(folder, &["anchor"]).await.unwrap();
        let file = folder.join("anchors.jsonl");
        std::fs::write(&file, anchors).unwrap();
        edit(&place, edited).await;
        let with_anchor = ["verify", "--anchor", file.to_str().unwrap()];
        let (good, text) = audit(folder, &with_anchor).await.unwrap();
        assert!(!good && text.contains("BROKEN"), "{edited}: {text}");
        let (good, text) = audit(folder, &["verify"]).await.unwrap();
        assert!(!good, "{edited}: {text}");
        place.history.close().await;
        if text.contains("BROKEN") {
            let refused = audit(folder, &["rebuild"]).await.unwrap_err().to_string();
            assert!(refused.contains("history restore"), "{refused}");
        }
    }
}

#[tokio::test]
async fn anchors_of_pruned_events_alone_prove_nothing() {
    let place = place().await;
    let folder = place.folder.path();
    let (_, anchors) = audit(folder, &["anchor"]).await.unwrap();
    let file = folder.join("anchors.jsonl");
    std::fs::write(&file, &anchors).unwrap();
    let with_anchor = ["verify", "--anchor", file.to_str().unwrap()];
    place.record(Ended, done(2)).await;
    place.record(Proposed, proposed(3)).await;
    place.record(Ended, done(3)).await;
    let (good, text) = audit(folder, &with_anchor).await.unwrap();
    assert!(good, "{text}");
    let all = RetentionConfig {
        keep_for: Some(std::time::Duration::ZERO),
        max_bytes: None,
    };
    assert!(
        retain_once(&all, &place.history, NOON + 3_600_000)
            .await
            .unwrap()
            >= 3
    );
    let (good, text) = audit(folder, &with_anchor).await.unwrap();
    assert!(!good && text.contains("decisions: UNPROVEN"), "{text}");
    let (_, newer) = audit(folder, &["anchor"]).await.unwrap();
    std::fs::write(&file, anchors + &newer).unwrap();
    let (good, text) = audit(folder, &with_anchor).await.unwrap();
    assert!(good, "{text}");
}

#[tokio::test]
async fn a_mismatch_stops_nothing_if_it_is_only_to_be_reported() {
    let place = full_place().await;
    let config = AuditConfig {
        on_mismatch: OnMismatch::Report,
        ..AuditConfig::default()
    };
    edit(&place, TABLE_EDITS[0]).await;
    let found = place.history.verify_once(&config, NOON).await;
    assert!(found.mismatch.unwrap().contains("audit rebuild"));
    assert_eq!(place.history.mismatch(), None);
}

#[tokio::test]
async fn a_history_that_was_emptied_or_lost_its_end_is_noticed_at_the_next_start() {
    type Damage = fn(&Place, &std::path::Path);
    let damages: [(&str, Damage); 3] = [
        ("as it was", |place, to| {
            for name in [FILE_NAME, "history.sqlite-wal"] {
                std::fs::copy(place.folder.path().join(name), to.join(name)).unwrap();
            }
        }),
        ("emptied", |_, to| {
            std::fs::write(to.join(FILE_NAME), "").unwrap();
        }),
        ("without the write-ahead log", |place, to| {
            std::fs::copy(place.file(), to.join(FILE_NAME)).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let as_it_was = what == "as it was";
        let mut place = full_place().await;
        // The events so far move from the write-ahead log into the file.
        place.reopen(HistoryOptions::default()).await;
        let config = AuditConfig::default();
        let verified = place.history.verify_once(&config, NOON).await;
        assert_eq!((verified.mismatch, verified.events), (None, 4 + 3 + 1));
        place.record(Proposed, proposed(3)).await;

        let elsewhere = tempfile::tempdir().unwrap();
        damage(&place, elsewhere.path());
        let heads = place.folder.path().join(HEADS_FILE_NAME);
        std::fs::copy(heads, elsewhere.path().join(HEADS_FILE_NAME)).unwrap();
        let file = elsewhere.path().join(FILE_NAME);
        let history = History::open(&file, HistoryOptions::default(), &Metrics::default())
            .await
            .unwrap();
        let (good, text) = audit(elsewhere.path(), &["verify"]).await.unwrap();
        assert_eq!(good, as_it_was, "{what}: {text}");
        assert!(text.contains("anchors found in it: 0"), "{text}");
        for _ in 0..2 {
            // The evidence outlasts a restart and new records.
            let found = history.verify_once(&config, NOON).await.mismatch;
            assert_eq!(found.is_none(), as_it_was, "{what}: {found:?}");
            let event = crate::fixture::event(Proposed, proposed(9));
            history.record(event).await.unwrap();
        }
    }
}
