//! Two services on one folder.

use std::time::Duration;

use crate::program::{Program, serve};
use crate::scale::SLACK;
use crate::service::base;
use crate::wait::until;

#[tokio::test]
async fn of_two_services_on_one_folder_the_second_is_refused_and_names_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("anomalyzer.toml");
    std::fs::write(&config, base(folder.path())).unwrap();
    let mut first = Program::start(&mut serve(&config));
    until("the first one has the folder", SLACK, async || {
        folder.path().join("history.sqlite").exists().then_some(())
    })
    .await;
    let second = Program::start(&mut serve(&config));
    let second = tokio::task::spawn_blocking(|| second.ended(Duration::from_secs(60)));
    let second = second.await.unwrap();
    assert!(!second.status.success(), "{}", second.lines);
    let process = format!("process {}, since ", first.id());
    assert!(
        second.errors.contains("another anomalyzer uses") && second.errors.contains(&process),
        "{}",
        second.errors
    );
    assert!(!first.has_ended());
}
