//! Tests of `anomalyzer decisions` on the file of a history.

use parking_lot::Mutex;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anomalyzer::cli::decisions::{DecisionsCommand, DecisionsError, run};
use anomalyzer_domain::Decision;
use anomalyzer_history::DecisionEventKind::{Ended, Proposed, Verified};
use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Place, done, proposed};

#[derive(Parser)]
struct Binary {
    #[command(flatten)]
    decisions: DecisionsCommand,
}

fn command(folder: &Path, arguments: &str) -> DecisionsCommand {
    let arguments = arguments.split(' ').map(str::to_owned);
    let folder = ["--data-dir".to_owned(), folder.display().to_string()];
    Binary::try_parse_from(
        ["decisions".to_owned()]
            .into_iter()
            .chain(arguments)
            .chain(folder),
    )
    .unwrap()
    .decisions
}

async fn output(place: &Place, arguments: &str) -> Result<String, DecisionsError> {
    let mut out = Vec::new();
    run(
        command(place.folder.path(), arguments),
        &mut out,
        CancellationToken::new(),
    )
    .await?;
    Ok(String::from_utf8(out).unwrap())
}

async fn place() -> Place {
    let place = Place::new().await;
    place.record(Proposed, proposed(1)).await;
    place.record(Proposed, proposed(2)).await;
    place.record(Ended, done(2)).await;
    let mut odd = proposed(3);
    odd.target = None;
    odd.explanation =
        "a\u{1b}[31mred\nherring that is so long that it would not fit on any line of any terminal at all".to_owned();
    place.record(Proposed, odd).await;
    place
}

#[tokio::test]
async fn the_list_is_a_table() {
    let place = place().await;
    insta::assert_snapshot!(output(&place, "list").await.unwrap(), @r#"
    DECIDED               ID                    STATE      OUTCOME       SOLUTION         TARGET                            WHY
    2026-01-31T12:03:00Z  dec-0c76ace292b74657  proposed   -             scale_up         -                                 a�[31mred herring that is so long that it would not fit on any line of any term…
    2026-01-31T12:02:00Z  dec-d3ca015d5ce9448f  done       improved      scale_up         default/shop/Deployment/web       latency rises with the queue, number 2
    2026-01-31T12:01:00Z  dec-55c9b274ab9b66ba  proposed   -             scale_up         default/shop/Deployment/web       latency rises with the queue, number 1
    "#);
    insta::assert_snapshot!(output(&place, "list --limit 1 --state proposed").await.unwrap(), @r#"
    DECIDED               ID                    STATE      OUTCOME       SOLUTION         TARGET                            WHY
    2026-01-31T12:03:00Z  dec-0c76ace292b74657  proposed   -             scale_up         -                                 a�[31mred herring that is so long that it would not fit on any line of any term…
    There are more: give a larger --limit, or --all.
    "#);
}

#[tokio::test]
async fn a_decision_is_shown_whole() {
    let place = place().await;
    insta::assert_snapshot!(output(&place, &format!("show {}", done(2).id)).await.unwrap(), @r#"
    decision   dec-d3ca015d5ce9448f
    incident   inc-0000000000000001
    state      done
    target     default/shop/Deployment/web
    opened     2026-01-31T12:01:55.000Z
    decided    2026-01-31T12:02:00.000Z, expires 2026-01-31T12:12:00.000Z
    asked by   engine (engine)
    anomaly    web_latency above, observed 1.25, expected 0.05 to 0.5, score 2.5, severity 3
    solution   scale_up {"replicas":4}, confidence 0.8
    action     sha256 00ff
    why        latency rises with the queue, number 2
    analyst    rules, took 1 ms, because ollama is not configured
    evidence   e1, cited: web_latency is 1.25 s, expected 0.05 to 0.5
    guard      allow by rule allow: nothing speaks against it
    operation  op-c4c3a491490e800c scale default/shop/Deployment/web
               asked 2026-01-31T12:02:00.100Z, done 2026-01-31T12:02:00.250Z
               allow by rule allow: nothing speaks against it
               done {"replicas":4}
               before {"replicas":2}
               after {"replicas":4}
    summary    scaled from 2 to 4
    outcome    improved at 2026-01-31T12:02:30.000Z, 12 samples: median 0.21 is within 0.05 to 0.5
    event      2026-01-31T12:02:00.000Z #2 proposed: proposed
    event      2026-01-31T12:02:00.000Z #3 ended: done
    "#);
}

#[tokio::test]
async fn json_is_the_record_itself() {
    let place = place().await;
    let lines = output(&place, "list --output json --text number --all")
        .await
        .unwrap();
    let decisions: Vec<Decision> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(decisions, [done(2), proposed(1)]);
    let shown = output(&place, &format!("--output json show {}", done(2).id))
        .await
        .unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&shown).unwrap(), done(2));
}

#[tokio::test]
async fn what_cannot_be_found_is_said() {
    let place = place().await;
    let error = output(&place, "show dec-1").await.unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no decision `dec-1`; `decisions list` shows those that there are"
    );

    let nowhere = place.folder.path().join("nowhere");
    let result = run(
        command(&nowhere, "list"),
        &mut Vec::new(),
        CancellationToken::new(),
    )
    .await;
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("nowhere/history.sqlite: there is no such file"),
        "{error}"
    );

    for arguments in [
        "list --state gone",
        "list --from yesterday",
        "list --target web",
        "list --limit 0",
    ] {
        let arguments = ["decisions"].into_iter().chain(arguments.split(' '));
        assert!(Binary::try_parse_from(arguments).is_err());
    }
}

#[tokio::test]
async fn it_reads_what_a_service_left_behind() {
    let place = place().await;
    place.history.close().await;
    assert_eq!(
        output(&place, "list --output json")
            .await
            .unwrap()
            .lines()
            .count(),
        3
    );
}

/// Writer whose output can be read while the command is running.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn watching_shows_each_event_from_now_on() {
    let place = place().await;
    let (mut out, shutdown) = (Shared::default(), CancellationToken::new());
    let shown = out.clone();
    let watch = command(place.folder.path(), "watch --output json --text number");
    let task = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { run(watch, &mut out, shutdown).await }
    });
    // The command starts to watch at an unknown time, so record events until it has shown one.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let line = loop {
        place.record(Verified, done(1)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(line) = String::from_utf8(shown.0.lock().clone())
            .unwrap()
            .lines()
            .next()
        {
            break line.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline);
    };
    shutdown.cancel();
    task.await.unwrap().unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (event["kind"].as_str(), event["decision"]["id"].as_str()),
        (Some("verified"), Some(done(1).id.as_str()))
    );
}

/// Closed pipe, as `head` leaves it when it exits.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn who_stops_reading_ends_it_without_an_error() {
    let place = place().await;
    run(
        command(place.folder.path(), "list"),
        &mut Closed,
        CancellationToken::new(),
    )
    .await
    .unwrap();
}
