//! Tests of pruning the record, and of backups of the record.

use std::time::Duration;

use anomalyzer::cli::Output;
use anomalyzer::cli::history::{HistoryCommand, HistorySubcommand, run};
use anomalyzer_history::DecisionEventKind::{Ended, Proposed};
use anomalyzer_history::{
    CutRules, FILE_NAME, Filter, HistoryReader, Page, RetentionConfig, Walked, retain_once,
};
use sqlx::{Connection, SqliteConnection};

use crate::fixture::{NOON, Place, done, proposed};

const MINUTE: i64 = 60_000;

async fn ids(place: &Place) -> Vec<String> {
    let page = Page {
        limit: 10_000,
        ..Page::default()
    };
    let (decisions, _) = place
        .history
        .decisions(&Filter::default(), page)
        .await
        .unwrap();
    let mut ids: Vec<String> = decisions
        .into_iter()
        .map(|decision| decision.id.to_string())
        .collect();
    ids.sort();
    ids
}

async fn count(place: &Place, what: &'static str) -> i64 {
    let mut file = SqliteConnection::connect(&format!("sqlite://{}", place.file().display()))
        .await
        .unwrap();
    sqlx::query_scalar(what).fetch_one(&mut file).await.unwrap()
}

#[tokio::test]
async fn what_is_old_goes_from_the_beginning_and_the_rest_can_be_verified() {
    let place = Place::new().await;
    for n in 0..500 {
        place.record(Proposed, proposed(n)).await;
        place.record(Ended, done(n)).await;
    }
    let head = place.history.verify_chain().await.unwrap();
    let keep = RetentionConfig {
        keep_for: Some(Duration::from_secs(60 * 100)),
        max_bytes: None,
    };
    let now = NOON + 500 * MINUTE;
    let gone = retain_once(&keep, &place.history, now).await.unwrap();
    assert!((790..=800).contains(&gone), "{gone}");
    assert_eq!(
        place.history.verify_chain().await.unwrap(),
        head,
        "the end is what it was"
    );
    let walked = place.history.audit(&[]).await.unwrap();
    assert!(walked.iter().all(Walked::is_intact), "{walked:?}");
    assert_eq!(
        (u64::try_from(walked[0].cut).unwrap(), walked[0].events),
        (gone, 1000)
    );
    // The configured retention must allow the cuts too.
    let longer = RetentionConfig {
        keep_for: Some(Duration::from_secs(60 * 200)),
        max_bytes: None,
    };
    for (retention, fits) in [(&keep, true), (&longer, false)] {
        let rules = CutRules {
            retention: retention.clone(),
            has_log_of_record: false,
        };
        let walked = place.history.audit_with(&[], Some(&rules)).await.unwrap();
        assert_eq!(walked.iter().all(Walked::is_intact), fits, "{walked:?}");
    }
    let left = ids(&place).await.len();
    assert!((100..=105).contains(&left), "{left}");
    assert_eq!(
        count(&place, "SELECT count(DISTINCT decision) FROM operations").await,
        i64::try_from(left).unwrap()
    );
    let words = Filter {
        text: Some("latency".to_owned()),
        ..Filter::default()
    };
    let found = place
        .history
        .decisions(
            &words,
            Page {
                limit: 10_000,
                ..Page::default()
            },
        )
        .await
        .unwrap()
        .0;
    assert_eq!(found.len(), left);
    assert_eq!(retain_once(&keep, &place.history, now).await.unwrap(), 0);
    // Recording continues after the last event.
    place.record(Proposed, proposed(501)).await;
    assert_eq!(place.history.verify_chain().await.unwrap().seq, 1001);
}

#[tokio::test]
async fn what_has_not_ended_stays_with_all_that_is_newer_and_the_last_event_always_does() {
    let place = Place::new().await;
    place.record(Proposed, proposed(0)).await;
    place.record(Ended, done(0)).await;
    place.record(Proposed, proposed(1)).await;
    for n in 2..10 {
        place.record(Ended, done(n)).await;
    }
    let keep = RetentionConfig {
        keep_for: Some(Duration::ZERO),
        max_bytes: None,
    };
    assert_eq!(
        retain_once(&keep, &place.history, NOON + 10_000 * MINUTE)
            .await
            .unwrap(),
        2
    );
    place.record(Ended, done(1)).await;
    assert_eq!(
        retain_once(&keep, &place.history, NOON + 10_000 * MINUTE)
            .await
            .unwrap(),
        9
    );
    assert_eq!(ids(&place).await, [proposed(1).id.to_string()]);
    assert_eq!(place.history.verify_chain().await.unwrap().seq, 12);
}

#[tokio::test]
async fn events_from_a_clock_that_was_ahead_hold_up_no_retention_and_are_no_reason_for_one() {
    const YEAR: i64 = 365 * 24 * 60;
    let place = Place::new().await;
    for n in [0, 1, 10 * YEAR, 2, 3, 500, 501] {
        place.record(Ended, done(n)).await;
    }
    let keep = RetentionConfig {
        keep_for: Some(Duration::from_secs(60 * 100)),
        max_bytes: None,
    };
    let now = NOON + 510 * MINUTE;
    assert_eq!(retain_once(&keep, &place.history, now).await.unwrap(), 5);
    // A clock that was set back makes nothing old.
    let back = NOON - YEAR * MINUTE;
    assert_eq!(retain_once(&keep, &place.history, back).await.unwrap(), 0);
    place.history.verify_chain().await.unwrap();
}

#[tokio::test]
async fn a_file_that_grew_too_large_lets_go_of_the_oldest_and_uses_the_room_again() {
    let place = Place::new().await;
    for n in 0..1000 {
        place.record(Ended, done(n)).await;
    }
    let before = place.history.bytes().await.unwrap();
    let keep = RetentionConfig {
        keep_for: None,
        max_bytes: Some(before / 2),
    };
    assert!(
        retain_once(&keep, &place.history, NOON + 1000 * MINUTE)
            .await
            .unwrap()
            > 300
    );
    assert!(place.history.bytes().await.unwrap() <= before / 2);
    let file = std::fs::metadata(place.file()).unwrap().len();
    for n in 1000..1300 {
        place.record(Ended, done(n)).await;
    }
    place.history.close().await;
    assert!(std::fs::metadata(place.file()).unwrap().len() <= file + file / 4);
}

#[tokio::test]
async fn nothing_after_a_cut_can_be_deleted_and_a_forged_cut_is_found() {
    let place = Place::new().await;
    for n in 0..10 {
        place.record(Ended, done(n)).await;
    }
    let keep = RetentionConfig {
        keep_for: Some(Duration::ZERO),
        max_bytes: None,
    };
    retain_once(&keep, &place.history, NOON + 5 * MINUTE)
        .await
        .unwrap();
    let mut file = SqliteConnection::connect(&format!("sqlite://{}", place.file().display()))
        .await
        .unwrap();
    let refused = sqlx::query("DELETE FROM decision_events WHERE seq = 8")
        .execute(&mut file)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("append-only"), "{refused}");
    sqlx::query("INSERT INTO cuts VALUES (7, zeroblob(32), 0, 0)")
        .execute(&mut file)
        .await
        .unwrap();
    sqlx::query("DELETE FROM decision_events WHERE seq <= 7")
        .execute(&mut file)
        .await
        .unwrap();
    let broken = place.history.verify_chain().await.unwrap_err().to_string();
    assert!(broken.contains("at event 8"), "{broken}");
}

async fn ran(what: HistorySubcommand, data_dir: &std::path::Path) -> Result<String, String> {
    let mut out = Vec::new();
    let command = HistoryCommand {
        what,
        data_dir: data_dir.to_owned(),
        output: Output::Text,
    };
    let good = run(command, &mut out)
        .await
        .map_err(|error| error.to_string())?;
    assert!(good);
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_copy_made_while_it_is_written_can_be_put_in_its_place() {
    let place = Place::new().await;
    for n in 0..20 {
        place.record(Ended, done(n)).await;
    }
    let copy = place.folder.path().join("copy.sqlite");
    let said = ran(
        HistorySubcommand::Backup { file: copy.clone() },
        place.folder.path(),
    )
    .await
    .unwrap();
    assert!(
        said.starts_with("decisions: intact up to event 20\nplugins: intact up to event 0\n"),
        "{said}"
    );
    let again = ran(
        HistorySubcommand::Backup { file: copy.clone() },
        place.folder.path(),
    )
    .await
    .unwrap_err();
    assert!(again.contains("give another name"), "{again}");
    place.record(Ended, done(20)).await;

    let in_use = ran(
        HistorySubcommand::Restore { file: copy.clone() },
        place.folder.path(),
    )
    .await
    .unwrap_err();
    assert!(in_use.contains("stop the service first"), "{in_use}");
    place.history.close().await;
    let said = ran(
        HistorySubcommand::Restore { file: copy.clone() },
        place.folder.path(),
    )
    .await
    .unwrap();
    assert!(said.contains("what was there is"), "{said}");
    let restored = HistoryReader::open(&place.file()).await.unwrap();
    assert_eq!(restored.verify_chain().await.unwrap().seq, 20);

    let elsewhere = tempfile::tempdir().unwrap();
    ran(
        HistorySubcommand::Restore { file: copy.clone() },
        &elsewhere.path().join("new"),
    )
    .await
    .unwrap();
    assert!(elsewhere.path().join("new").join(FILE_NAME).is_file());

    let mut file = SqliteConnection::connect(&format!("sqlite://{}", copy.display()))
        .await
        .unwrap();
    sqlx::query("DROP TRIGGER decision_events_are_never_changed")
        .execute(&mut file)
        .await
        .unwrap();
    sqlx::query("UPDATE decision_events SET at = 1 WHERE seq = 5")
        .execute(&mut file)
        .await
        .unwrap();
    file.close().await.unwrap();
    let broken = ran(HistorySubcommand::Restore { file: copy }, elsewhere.path())
        .await
        .unwrap_err();
    assert!(broken.contains("broken at event 5"), "{broken}");
}

#[tokio::test]
async fn the_heads_are_told_to_a_file_and_a_webhook_and_an_audit_finds_them_again() {
    use std::sync::Arc;

    use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
    use anomalyzer_common::clock::now_ms;
    use anomalyzer_history::{Anchor, AnchorConfig, Chain, anchor};
    use tokio_util::sync::CancellationToken;

    use crate::receiver::Receiver;
    use crate::wait::until;

    let place = Place::new().await;
    place.record(Ended, done(0)).await;
    let receiver = Receiver::start([]).await;
    let file = place.folder.path().join("anchors.jsonl");
    let config = AnchorConfig {
        every: Duration::from_secs(1),
        file: Some(file.clone()),
        webhook: Some(receiver.url("/anchors").into()),
        topic: false,
    };
    let bus = LocalBus::open(
        &place.folder.path().join("bus.sqlite"),
        LocalBusConfig::default(),
    )
    .await
    .unwrap();
    let shutdown = CancellationToken::new();
    let telling = anchor(
        config,
        HistoryReader::clone(&place.history),
        Arc::new(bus),
        Arc::new(now_ms),
        shutdown.clone(),
    );
    let telling = tokio::spawn(telling);
    let minute = Duration::from_secs(60);
    until("the first is told", minute, async || {
        (receiver.received().len() == 1).then_some(())
    })
    .await;
    place.record(Ended, done(1)).await;
    until("the next is told", minute, async || {
        (receiver.received().len() == 2).then_some(())
    })
    .await;
    shutdown.cancel();
    telling.await.unwrap().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let anchors: Vec<Anchor> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|anchor: &Anchor| anchor.chain == Chain::Decisions)
        .collect();
    assert_eq!(
        anchors.iter().map(|anchor| anchor.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        receiver.received()[1].json()["anchors"][0]["hash"],
        anchors[1].hash
    );
    let [decisions, ..] = place.history.audit(&anchors).await.unwrap();
    assert_eq!((decisions.anchored, decisions.broken), (2, None));
}
