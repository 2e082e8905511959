//! Tests of the history on a real file.

use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{
    Decision, DecisionState, IncidentEvent, IncidentEventKind, OutcomeKind, Target,
    VerificationOutcome,
};
use anomalyzer_history::DecisionEventKind::{Ended, OperationAsked, Proposed};
use anomalyzer_history::{
    Filter, History, HistoryError, HistoryOptions, HistoryReader, Order, Page,
};
use futures::TryStreamExt;
use proptest::prelude::*;
use sqlx::{Connection, SqliteConnection};

use crate::fixture::{NOON, Place, done, event, incident, proposed, web};

async fn by_hand(place: &Place) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", place.file().display()))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let mut place = Place::new().await;
    assert_eq!(place.record(Proposed, proposed(1)).await, 1);
    assert_eq!(place.record(Ended, done(1)).await, 2);
    place.reopen(HistoryOptions::default()).await;

    assert_eq!(
        place.history.decision(&done(1).id).await.unwrap(),
        Some(done(1))
    );
    let events = place.history.events_of(&done(1).id).await.unwrap();
    assert_eq!(
        events
            .iter()
            .map(|event| event.kind.as_str())
            .collect::<Vec<_>>(),
        ["proposed", "ended"]
    );
    assert_eq!(events[0].decision, proposed(1));
    assert_eq!(place.history.decision(&proposed(2).id).await.unwrap(), None);
}

#[tokio::test]
async fn records_that_come_at_once_are_all_written_in_one_chain() {
    let place = Place::with(HistoryOptions {
        queue: 16,
        ..HistoryOptions::default()
    })
    .await;
    let records = (0..500).map(|n| {
        let history = place.history.clone();
        tokio::spawn(async move { history.record(event(Proposed, proposed(n))).await.unwrap() })
    });
    let mut seqs = futures::future::try_join_all(records).await.unwrap();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=500).collect::<Vec<i64>>());
    let head = place.history.verify_chain().await.unwrap();
    assert_eq!((head.seq, head.hash.len()), (500, 64));
}

#[tokio::test]
async fn pages_lead_through_all_decisions_once_in_both_directions() {
    let place = Place::new().await;
    for n in 0..25 {
        place.record(Proposed, proposed(n)).await;
    }
    // A later event does not move a decision.
    place.record(Ended, done(3)).await;
    for (order, expected) in [
        (Order::Newest, (0..25).rev().collect::<Vec<i64>>()),
        (Order::Oldest, (0..25).collect()),
    ] {
        let (mut page, mut seen, mut sizes) = (
            Page {
                limit: 10,
                order,
                ..Page::default()
            },
            Vec::new(),
            Vec::new(),
        );
        loop {
            let (decisions, next) = place.page(page).await;
            sizes.push(decisions.len());
            seen.extend(decisions.into_iter().map(|decision| decision.id));
            let Some(next) = next else { break };
            page.after = Some(next);
        }
        assert_eq!(sizes, [10, 10, 5]);
        assert_eq!(
            seen,
            expected
                .into_iter()
                .map(|n| proposed(n).id)
                .collect::<Vec<_>>()
        );

        let page = Page {
            limit: 10,
            order,
            ..Page::default()
        };
        let streamed: Vec<_> = place
            .history
            .all_decisions(Filter::default(), page)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(
            streamed
                .into_iter()
                .map(|decision| decision.id)
                .collect::<Vec<_>>(),
            seen
        );
    }
}

#[tokio::test]
async fn a_full_last_page_has_no_next() {
    let place = Place::new().await;
    for n in 0..10 {
        place.record(Proposed, proposed(n)).await;
    }
    let page = Page {
        limit: 10,
        ..Page::default()
    };
    assert_eq!(place.page(page).await.1, None);
}

async fn found(place: &Place, filter: Filter) -> Vec<String> {
    let page = Page {
        order: Order::Oldest,
        ..Page::default()
    };
    let (decisions, _) = place.history.decisions(&filter, page).await.unwrap();
    decisions
        .into_iter()
        .map(|decision| decision.explanation)
        .collect()
}

#[tokio::test]
async fn each_filter_finds_what_it_names_and_nothing_else() {
    let place = Place::new().await;
    place.record(Proposed, proposed(1)).await;
    place.record(Ended, done(2)).await;
    let mut other = proposed(3);
    other.target = Some(Target::new("shop", "Deployment", "db"));
    other.solution = "restart_service".to_owned();
    other.incident = None;
    other.explanation = "memory grows".to_owned();
    place.record(Proposed, other.clone()).await;

    let (first, second) = (proposed(1).explanation, done(2).explanation);
    let with = |set: fn(&mut Filter)| {
        let mut filter = Filter::default();
        set(&mut filter);
        filter
    };
    let cases = [
        (Filter::default(), vec![&first, &second, &other.explanation]),
        (
            with(|filter| filter.target = Some(web())),
            vec![&first, &second],
        ),
        (
            with(|filter| filter.solution = Some("restart_service".into())),
            vec![&other.explanation],
        ),
        (
            with(|filter| filter.outcome = Some(VerificationOutcome::Improved)),
            vec![&second],
        ),
        (
            with(|filter| filter.state = Some(DecisionState::Proposed)),
            vec![&first, &other.explanation],
        ),
        (
            with(|filter| filter.incident = proposed(1).incident),
            vec![&first, &second],
        ),
        (
            with(|filter| filter.from = Some(proposed(2).decided_at)),
            vec![&second, &other.explanation],
        ),
        (
            with(|filter| filter.to = Some(proposed(2).decided_at)),
            vec![&first],
        ),
        (
            with(|filter| filter.text = Some("memory".into())),
            vec![&other.explanation],
        ),
        (
            with(|filter| filter.text = Some("GROWS memory".into())),
            vec![&other.explanation],
        ),
        (
            with(|filter| filter.text = Some("memory latency nothing".into())),
            vec![],
        ),
        (
            with(|filter| filter.text = Some(done(2).id.to_string())),
            vec![&second],
        ),
        (
            with(|filter| filter.text = Some("shop/Deployment/db".into())),
            vec![&other.explanation],
        ),
        (
            with(|filter| {
                filter.text = Some("median".into());
                filter.state = Some(DecisionState::Done);
            }),
            vec![&second],
        ),
        (
            with(|filter| filter.text = Some("  ".into())),
            vec![&first, &second, &other.explanation],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            found(&place, filter.clone()).await,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{filter:?}"
        );
    }
}

#[tokio::test]
async fn text_that_a_decision_no_longer_has_no_longer_finds_it() {
    let place = Place::new().await;
    let mut decision = proposed(1);
    decision.explanation = "elephants".to_owned();
    place.record(Proposed, decision.clone()).await;
    decision.explanation = "giraffes".to_owned();
    place.record(Ended, decision).await;
    for (text, number) in [("elephants", 0), ("giraffes", 1)] {
        let filter = Filter {
            text: Some(text.into()),
            ..Filter::default()
        };
        assert_eq!(found(&place, filter).await.len(), number, "{text}");
    }
}

#[test]
fn no_text_is_an_error_of_the_query_language() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let place = runtime.block_on(async {
        let place = Place::new().await;
        place.record(Proposed, proposed(1)).await;
        place
    });
    let text = prop_oneof![
        any::<String>(),
        r#"[a"*()^:{}+\-\x00 ,.]{0,20}"#,
        "(NEAR|AND|OR|NOT|words:|latency| |\"|\\()*"
    ];
    proptest!(ProptestConfig::with_cases(300), |(text in text)| {
        let filter = Filter { text: Some(text), ..Filter::default() };
        runtime.block_on(place.history.decisions(&filter, Page::default())).unwrap();
    });
}

#[tokio::test]
async fn the_chain_names_the_first_event_that_was_changed() {
    let place = Place::new().await;
    for n in 0..5 {
        place.record(Proposed, proposed(n)).await;
    }
    let head = place.history.verify_chain().await.unwrap();
    assert_eq!(head.seq, 5);

    let mut connection = by_hand(&place).await;
    for statement in [
        "UPDATE decision_events SET at = 0 WHERE seq = 3",
        "DELETE FROM decision_events WHERE seq = 3",
    ] {
        let refused = sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("decision_events is append-only"),
            "{refused}"
        );
    }
    // A person with write access to the file can drop the triggers too.
    sqlx::raw_sql(
        "DROP TRIGGER decision_events_are_never_changed;
         UPDATE decision_events SET body = CAST(replace(body, '0.8', '0.9') AS BLOB) WHERE seq = 3",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let broken = place.history.verify_chain().await.unwrap_err();
    assert!(
        matches!(broken, HistoryError::BrokenChain { seq: 3, .. }),
        "{broken}"
    );

    sqlx::raw_sql(
        "DROP TRIGGER decision_events_are_never_deleted; DELETE FROM decision_events WHERE seq = 2",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let broken = place.history.verify_chain().await.unwrap_err();
    assert!(
        broken
            .to_string()
            .contains("at event 3: event 2 should be here"),
        "{broken}"
    );
}

#[tokio::test]
async fn a_full_disk_is_named_loses_nothing_and_is_left_behind_once_there_is_room() {
    let small = HistoryOptions {
        max_pages: Some(80),
        ..HistoryOptions::default()
    };
    let mut place = Place::with(small).await;
    let mut acknowledged = Vec::new();
    let error = loop {
        let decision = proposed(i64::try_from(acknowledged.len()).unwrap());
        match place
            .history
            .record(event(Proposed, decision.clone()))
            .await
        {
            Ok(_) => acknowledged.push(decision),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 10_000, "80 pages never filled up");
    };
    assert!(matches!(error, HistoryError::Full { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&place.file().display().to_string()),
        "{error}"
    );
    assert_eq!(place.history.health().problem, Some(error.to_string()));
    // Many concurrent records fail like a single record.
    let more = (0..20).map(|n| place.history.record(event(Proposed, proposed(10_000 + n))));
    for result in futures::future::join_all(more).await {
        assert!(
            matches!(result, Err(HistoryError::Full { .. })),
            "{result:?}"
        );
    }

    let page = Page {
        limit: 20_000,
        order: Order::Oldest,
        ..Page::default()
    };
    assert_eq!(place.page(page).await.0, acknowledged);
    assert_eq!(
        place.history.verify_chain().await.unwrap().seq,
        i64::try_from(acknowledged.len()).unwrap()
    );

    place.reopen(HistoryOptions::default()).await;
    assert_eq!(place.page(page).await.0, acknowledged);
    place.record(Proposed, proposed(50_000)).await;
    assert_eq!(place.history.health().problem, None);
}

#[tokio::test]
async fn what_is_still_to_be_done_is_found_after_a_restart() {
    let mut place = Place::new().await;
    place.record(Ended, done(1)).await;
    place.record(Proposed, proposed(2)).await;
    let mut acting = done(3);
    acting.transition(DecisionState::Acting).unwrap();
    acting.verification = None;
    acting.operations[0].outcome = None;
    acting.operations[0].done_at = None;
    place.record(OperationAsked, acting.clone()).await;
    place.reopen(HistoryOptions::default()).await;
    assert_eq!(
        place.history.unfinished().await.unwrap(),
        [proposed(2), acting]
    );
}

#[tokio::test]
async fn the_cooldown_can_ask_for_the_operations_of_a_target() {
    let place = Place::new().await;
    place.record(Ended, done(1)).await;
    place.record(Ended, done(2)).await;
    // A notice has no target of its own, so it counts for the target of its decision.
    let mut notice = done(3);
    notice.operations[0].target = None;
    notice.target = Some(Target::new("shop", "Deployment", "db"));
    place.record(Ended, notice.clone()).await;
    place.record(Ended, notice.clone()).await;

    let since = done(2).operations[0].asked_at;
    let all = place.history.operations_since(None, since).await.unwrap();
    assert_eq!(
        all.iter()
            .map(|past| past.decision.clone())
            .collect::<Vec<_>>(),
        [done(2).id, done(3).id]
    );
    assert_eq!(
        (all[0].solution.as_str(), &all[0].operation),
        ("scale_up", &done(2).operations[0])
    );
    let of_web = place
        .history
        .operations_since(Some(&web()), 0)
        .await
        .unwrap();
    assert_eq!(of_web.len(), 2);
    assert_eq!(
        place
            .history
            .operations_since(notice.target.as_ref(), 0)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn the_budgets_count_what_changed_something_or_may_have() {
    let place = Place::new().await;
    let at = |number, change: &dyn Fn(&mut Decision)| {
        let mut decision = done(number);
        change(&mut decision);
        decision
    };
    let elsewhere = |name: &str| Some(Target::new(name, "Deployment", "db"));
    place.record(Ended, at(1, &|_| ())).await;
    place
        .record(
            Ended,
            at(2, &|decision| decision.operations[0].outcome = None),
        )
        .await;
    place
        .record(
            Ended,
            at(3, &|decision| {
                decision.operations[0].target = elsewhere(&web().namespace);
            }),
        )
        .await;
    place
        .record(
            Ended,
            at(4, &|decision| {
                decision.operations[0].target = elsewhere("other");
            }),
        )
        .await;
    place
        .record(
            Ended,
            at(5, &|decision| {
                decision.operations[0].kind = "inspect".into();
            }),
        )
        .await;
    let denied = |decision: &mut Decision| {
        decision.operations[0].outcome.as_mut().unwrap().kind = OutcomeKind::Denied;
    };
    place.record(Ended, at(6, &denied)).await;
    assert_eq!(
        place
            .history
            .changes_between(&web(), 0, i64::MAX)
            .await
            .unwrap(),
        [2, 3, 4]
    );
    for (from, to) in [(i64::MAX, i64::MAX), (0, NOON)] {
        let changes = place.history.changes_between(&web(), from, to).await;
        assert_eq!(changes.unwrap(), [0, 0, 0], "from {from} to {to}");
    }
}

#[tokio::test]
async fn an_incident_is_kept_as_it_was_last_and_never_goes_back_in_time() {
    let place = Place::new().await;
    let opened = incident(1);
    let mut cleared = opened.clone();
    cleared.changed_at += 1000;
    cleared.cleared_at = Some(cleared.changed_at);
    let record = |kind, incident| IncidentEvent::new(kind, NOON, incident);
    place
        .history
        .record_incident(&record(IncidentEventKind::Opened, incident(2)))
        .await
        .unwrap();
    place
        .history
        .record_incident(&record(IncidentEventKind::Opened, opened.clone()))
        .await
        .unwrap();
    assert_eq!(
        place.history.open_incidents().await.unwrap(),
        [incident(2), opened.clone()]
    );
    place
        .history
        .record_incident(&record(IncidentEventKind::Cleared, cleared.clone()))
        .await
        .unwrap();
    place
        .history
        .record_incident(&record(IncidentEventKind::Opened, opened.clone()))
        .await
        .unwrap();

    assert_eq!(
        place.history.incident(&opened.id).await.unwrap(),
        Some(cleared.clone())
    );
    assert_eq!(place.history.open_incidents().await.unwrap(), [incident(2)]);
    let page = Page::default();
    assert_eq!(
        place.history.incidents(Some(false), page).await.unwrap().0,
        [cleared.clone()]
    );
    assert_eq!(
        place.history.incidents(None, page).await.unwrap().0,
        [cleared, incident(2)]
    );
}

#[tokio::test]
async fn who_subscribed_is_told_after_it_is_durable() {
    let place = Place::new().await;
    let mut decisions = place.history.subscribe();
    place.record(Proposed, proposed(1)).await;
    let told = decisions.try_recv().unwrap();
    assert_eq!(*told, proposed(1));
    assert_eq!(
        place.history.decision(&told.id).await.unwrap().as_ref(),
        Some(&*told)
    );
}

#[tokio::test]
async fn numbers_that_json_does_not_know_can_be_read_again() {
    let place = Place::new().await;
    let mut decision = proposed(1);
    decision.confidence = f64::NAN;
    let anomaly = decision.anomaly.as_mut().unwrap();
    (anomaly.score, anomaly.severity, anomaly.observed) =
        (f64::INFINITY, f64::NEG_INFINITY, Some(f64::NAN));
    place.record(Proposed, decision).await;
    let read = place
        .history
        .decision(&proposed(1).id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.confidence, read.anomaly.unwrap().observed),
        (0.0, None)
    );
}

#[tokio::test]
async fn it_is_read_from_outside_while_it_is_written_and_after_it_was_closed() {
    let place = Place::new().await;
    place.record(Proposed, proposed(1)).await;
    let outside = HistoryReader::open(&place.file()).await.unwrap();
    assert_eq!(outside.last_event().await.unwrap(), 1);
    place.record(Ended, done(1)).await;
    let events = outside
        .events_after(1, &Filter::default(), 10)
        .await
        .unwrap();
    assert_eq!(
        events
            .into_iter()
            .map(|event| event.decision)
            .collect::<Vec<_>>(),
        [done(1)]
    );
    place.history.close().await;
    drop(outside);

    let outside = HistoryReader::open(&place.file()).await.unwrap();
    assert_eq!(outside.decision(&done(1).id).await.unwrap(), Some(done(1)));
    let refused = place
        .history
        .record(event(Ended, done(1)))
        .await
        .unwrap_err();
    assert!(matches!(refused, HistoryError::Closed { .. }), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_history_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |path: &std::path::Path| {
        let opened = History::open(path, HistoryOptions::default(), &Metrics::default()).await;
        opened.unwrap_err().to_string()
    };
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "garbage ".repeat(1000)).unwrap();
    let error = open(&garbage).await;
    assert!(
        error.contains("garbage: it is not an SQLite database"),
        "{error}"
    );

    let error = open(&garbage.join("below/history.sqlite")).await;
    assert!(error.contains("cannot open"), "{error}");

    let missing = folder.path().join("missing");
    let error = HistoryReader::open(&missing).await.unwrap_err().to_string();
    assert!(error.contains("there is no such file"), "{error}");

    let place = Place::new().await;
    let mut connection = by_hand(&place).await;
    sqlx::query("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 3")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = open(&place.file()).await;
    assert!(error.contains("newer version"), "{error}");
    let error = HistoryReader::open(&place.file())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("newer version"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_can_be_read_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new().await;
    place.record(Proposed, proposed(1)).await;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{}",
            entry.path().display()
        );
    }
}

#[tokio::test]
async fn those_that_were_left_alone_are_counted_for_a_comparison() {
    use anomalyzer_domain::{Control, IncidentEvent, IncidentEventKind, Target};

    let place = Place::new().await;
    let other = |n: i64| {
        let mut other = incident(n);
        other.id = format!("inc-other-{n}").as_str().into();
        other.target = Target::new("shop", "Deployment", &format!("other-{n}"));
        (other.opened_at, other.cleared_at) = (NOON, None);
        other
    };
    let at = NOON + 60_000;
    for n in 0..4 {
        let mut one = other(n);
        match n {
            // Incident 0 was over before `at`, incident 1 clears after `at`, and incident 2 stays
            // open. An action is taken for incident 3.
            0 => one.cleared_at = Some(at - 1),
            1 => one.cleared_at = Some(at + 1),
            _ => {}
        }
        let event = IncidentEvent::new(IncidentEventKind::Changed, at, one);
        place.history.record_incident(&event).await.unwrap();
    }
    let mut treated = done(1);
    treated.incident = Some("inc-other-3".into());
    place.record(Ended, treated).await;
    let control = place.history.left_alone(at, &web()).await.unwrap();
    assert_eq!(
        control,
        Control {
            left_alone: 2,
            better: 1
        }
    );
}
