//! Measures the history: the number of durable decisions per second, against a plain bulk insert of
//! the same bytes in the same run, and the time to read a filtered page of many decisions.
//! `HISTORY_DECISIONS` sets the number of decisions; the default takes a few minutes. Beyond
//! `RECORDED`, the rows of the decisions are copied by SQL, without their events and their search
//! text. A page reads in the same way from copied rows, and copying takes minutes instead of hours.
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

/// Number of decisions that are written concurrently, which is the maximum number in one commit.
const AT_ONCE: usize = 256;
/// Number of decisions in the comparison of write speed.
const WRITTEN: i64 = 20_000;
/// Number of targets that the decisions are about.
const TARGETS: i64 = 500;
/// Number of pages that are read.
const PAGES: i64 = 2_000;
/// Default number of decisions, and the maximum number that is recorded and not copied.
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

/// Copies the recorded decisions until there are `many`.
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

/// Inserts the same bytes into a table without indexes, with as many decisions in a transaction and
/// with the same durability. Returns the number of decisions per second.
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
            // Each decision is stored twice, as its current state and as an event.
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
