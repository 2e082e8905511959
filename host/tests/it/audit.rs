//! Tests of `anomalyzer audit` on the file of a history.

use std::process::Command;

use anomalyzer::cli::audit::{AuditCommand, AuditError, run};
use anomalyzer_history::DecisionEventKind::{Ended, Proposed};
use clap::Parser;
use sqlx::{Connection, SqliteConnection};

use crate::fixture::{Place, done, proposed};

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
async fn a_removed_end_is_found_with_the_anchor_that_was_printed() {
    let place = place().await;
    let (_, anchors) = audit(place.folder.path(), &["anchor"]).await.unwrap();
    let file = place.folder.path().join("anchors.jsonl");
    std::fs::write(&file, anchors).unwrap();
    let with_anchor = ["verify", "--anchor", file.to_str().unwrap()];
    assert!(audit(place.folder.path(), &with_anchor).await.unwrap().0);
    tamper(&place, "DELETE FROM decision_events WHERE seq = 3").await;
    assert!(audit(place.folder.path(), &["verify"]).await.unwrap().0);
    assert!(!audit(place.folder.path(), &with_anchor).await.unwrap().0);
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
