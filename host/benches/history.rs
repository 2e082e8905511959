//! The history: how many decisions a second are durable, against a plain bulk insert of the same
//! bytes in the same run, and how long a filtered page takes among many. `HISTORY_DECISIONS` says
//! how many; the default is what fits into a coffee break. Beyond that the rows of the decisions
//! are copied by SQL, without events and text to search for: for a page that is the same, and takes
//! minutes instead of hours.
#![allow(
    clippy::unwrap_used,
    reason = "what is shared with the tests is made for them"
)]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/fixture.rs"]
mod fixture;

use std::path::Path;
use std::time::Instant;

use anomalyzer_common::metrics::Metrics;
use anomalyzer_domain::{Target, VerificationOutcome};
use anomalyzer_history::DecisionEventKind::Ended;
use anomalyzer_history::{Filter, History, HistoryOptions, Page};
use futures::StreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

/// Those that are written at the same time: so many share a commit at most.
const AT_ONCE: usize = 256;
/// Decisions in the comparison of writing.
const WRITTEN: i64 = 20_000;
/// Targets that the decisions are about.
const TARGETS: i64 = 500;
/// Pages that are read.
const PAGES: i64 = 2_000;
/// Decisions that are recorded, unless fewer are wanted.
const RECORDED: i64 = 100_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("history.sqlite");
        let history = History::open(&path, HistoryOptions::default(), &Metrics::default())
            .await
            .expect("it opens");
        let began = Instant::now();
        fill(&history, 0..WRITTEN).await;
        let ours = WRITTEN as f64 / began.elapsed().as_secs_f64();
        let plain = plain(&folder.path().join("plain.sqlite")).await;
        println!(
            "{:<52} {ours:>10.0} decisions/s",
            "durable, in groups, chained, searchable"
        );
        println!(
            "{:<52} {plain:>10.0} decisions/s",
            "plain bulk insert of the same bytes, as durable"
        );
        println!("{:<52} {:>10.2}", "ratio", ours / plain);

        let many = std::env::var("HISTORY_DECISIONS")
            .ok()
            .and_then(|many| many.parse().ok())
            .unwrap_or(RECORDED);
        fill(&history, WRITTEN..many.min(RECORDED)).await;
        copy(&path, many).await;
        let mut took = Vec::new();
        for page in 0..PAGES {
            let filter = Filter {
                target: Some(target(page * 7 % TARGETS)),
                outcome: (page % 2 == 0).then_some(VerificationOutcome::Improved),
                ..Filter::default()
            };
            let began = Instant::now();
            let (decisions, _) = history
                .decisions(&filter, Page::default())
                .await
                .expect("a page");
            took.push(began.elapsed());
            assert!(!decisions.is_empty());
        }
        took.sort_unstable();
        let p99 = took[took.len() * 99 / 100].as_secs_f64() * 1000.0;
        println!(
            "{:<52} {p99:>10.2} ms",
            format!("p99 of a filtered page of {many} decisions")
        );
        let began = Instant::now();
        let streamed = history
            .all_decisions(Filter::default(), Page::default())
            .count()
            .await;
        let rate = streamed as f64 / began.elapsed().as_secs_f64();
        println!("{:<52} {rate:>10.0} decisions/s", "all of them, streamed");
        history.close().await;
    });
}

fn target(number: i64) -> Target {
    Target::new("shop", "Deployment", &format!("web-{number}"))
}

async fn fill(history: &History, which: std::ops::Range<i64>) {
    futures::stream::iter(which)
        .for_each_concurrent(AT_ONCE, async |number| {
            let mut decision = fixture::done(number);
            decision.target = Some(target(number % TARGETS));
            history
                .record(fixture::event(Ended, decision))
                .await
                .expect("it is recorded");
        })
        .await;
}

/// Copies what is recorded until there are that many.
async fn copy(path: &Path, many: i64) {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging();
    let mut file = connect.connect().await.expect("it opens");
    let mut there = RECORDED;
    while there < many {
        let more = RECORDED.min(many - there);
        sqlx::query(
            "INSERT INTO decisions (id, incident, target, namespace, solution, state, outcome, opened_at, decided_at, body) \
             SELECT ?1 || id, incident, target, namespace, solution, state, outcome, opened_at + ?1, decided_at + ?1, body \
             FROM decisions WHERE seq <= ?2",
        )
        .bind(there)
        .bind(more)
        .execute(&mut file)
        .await
        .expect("copied");
        there += more;
    }
}

/// The same bytes into a table without indexes, as many in a transaction, as durable.
async fn plain(path: &Path) -> f64 {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut file = connect.connect().await.expect("it opens");
    sqlx::query("CREATE TABLE plain (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        .execute(&mut file)
        .await
        .expect("made");
    let bodies: Vec<Vec<u8>> = (0..WRITTEN)
        .map(|number| serde_json::to_vec(&fixture::done(number)).expect("JSON"))
        .collect();
    let began = Instant::now();
    for group in bodies.chunks(AT_ONCE) {
        let mut transaction = file.begin().await.expect("begun");
        for body in group {
            // The decision as it is, and the event.
            for _ in 0..2 {
                sqlx::query("INSERT INTO plain (body) VALUES (?)")
                    .bind(body)
                    .execute(&mut *transaction)
                    .await
                    .expect("in");
            }
        }
        transaction.commit().await.expect("durable");
    }
    WRITTEN as f64 / began.elapsed().as_secs_f64()
}
