//! Tests that the program leaves no process behind, however it is told to end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anomalyzer_domain::derive;
use rustix::process::Signal;

use crate::program::Program;

const TEST_TIMEOUT: Duration = Duration::from_secs(60);

fn anomalyzer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_anomalyzer"))
}

/// Counts the processes that carry the mark of a host with the data folder `data_dir`.
fn marked(data_dir: &Path) -> usize {
    let mark = derive(&["local", &data_dir.canonicalize().unwrap().to_string_lossy()]);
    let wanted = format!("ANOMALYZER_LOCAL={mark}");
    let environments = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| {
            let environment = std::fs::read(process.path().join("environ")).ok()?;
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted.as_bytes())
                .then_some(())
        });
    environments.count()
}

#[track_caller]
fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !there() {
        assert!(
            Instant::now() < deadline,
            "{what}: not within {TEST_TIMEOUT:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the demo, waits until its application runs, and sends `signal` to the demo.
#[track_caller]
fn the_demo_ends_by(signal: Signal) {
    let _stage = crate::stage();
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(anomalyzer().args(["demo", "--data-dir"]).arg(folder.path()));
    until("the application runs", || {
        marked(folder.path()) > 0 || program.has_ended()
    });
    program.signal(signal);
    let ended = program.ended(TEST_TIMEOUT);
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.errors);
    until("nothing is left", || marked(folder.path()) == 0);
}

#[test]
fn the_demo_leaves_no_process_behind_when_it_is_interrupted() {
    the_demo_ends_by(Signal::INT);
}

#[test]
fn the_demo_leaves_no_process_behind_when_its_terminal_is_closed() {
    the_demo_ends_by(Signal::HUP);
}

#[test]
fn a_second_interrupt_ends_it_at_once_and_leaves_no_process_behind_not_even_a_deaf_one() {
    let _stage = crate::stage();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("anomalyzer.toml");
    let text = format!(
        "data_dir = '{}'\n[api]\nlisten = '127.0.0.1:0'\n[plugins]\nfolder = '{}'\n[local.groups.deaf]\nfirst_port = 9\n\
         command = ['sh', '-c', 'trap \"\" TERM; while :; do sleep 1; done']\nstop_timeout = '10m'\n",
        folder.path().display(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"),
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Program::start(anomalyzer().args(["serve", "--config"]).arg(&config));
    // Two processes carry the mark: the shell and the command that it waits for. By then the shell
    // ignores SIGTERM. The host may not be ready yet, and must stop both all the same.
    until("the deaf process runs", || {
        marked(folder.path()) > 1 || program.has_ended()
    });
    program.signal(Signal::INT);
    // Two signals that arrive together count as one, so repeat the signal until the program ends.
    until("it ends", || {
        let ended = program.has_ended();
        if !ended {
            program.signal(Signal::INT);
        }
        ended
    });
    let ended = program.ended(TEST_TIMEOUT);
    assert_eq!(ended.status.code(), Some(130), "{}", ended.errors);
    until("nothing is left", || marked(folder.path()) == 0);
}
