//! Tests of a start on a data folder in which somebody has put something else in the place of a
//! file.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anomalyzer_plugin_host::KeyPair;
use anomalyzer_service::Service;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::serve::configured;

/// Longest time for a start and a stop. It leaves room for a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of starts at a time.
const STARTS: usize = 4;

/// Files and folders that a start reads or writes, each below the data folder.
const NAMES: [&str; 22] = [
    ".room",
    "STOP",
    "bus.sqlite",
    "bus.sqlite-shm",
    "bus.sqlite-wal",
    "engine.lock",
    "feedback.json",
    "history.heads",
    "history.sqlite",
    "history.sqlite-shm",
    "history.sqlite-wal",
    "local.json",
    "local.lock",
    "memory.sqlite",
    "memory.sqlite-shm",
    "memory.sqlite-wal",
    "notices",
    "notices/op-1.json",
    "plugin-store/drain.json",
    "plugin-store/trusted/ada.pub",
    "server.lock",
    "silences.json",
];

/// Things that can be in the place of a file.
const THINGS: [&str; 7] = [
    "pipe",
    "folder",
    "loop",
    "device",
    "sparse file",
    "no permission",
    "link to a pipe",
];

fn put(thing: &str, path: &Path) {
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    };
    if thing == "no permission" {
        if !path.exists() {
            File::create(path).unwrap();
        }
        fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
        return;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
    match thing {
        "pipe" => pipe(path),
        "folder" => fs::create_dir(path).unwrap(),
        "loop" => symlink(path, path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        "sparse file" => File::create(path).unwrap().set_len(1 << 30).unwrap(),
        "link to a pipe" => {
            let elsewhere = path.with_extension("elsewhere");
            pipe(&elsewhere);
            symlink(elsewhere, path).unwrap();
        }
        other => panic!("{other}"),
    }
}

/// Starts and stops all parts on the folder. Returns the error of the start.
async fn start(folder: PathBuf) -> Result<(), String> {
    let shutdown = CancellationToken::new();
    let mut config = configured(&folder, "");
    // The start loads no plugin, and so takes a moment only.
    config.plugins.folder = folder.join("no-plugins");
    config.signal.clear();
    fs::create_dir_all(&config.plugins.folder).unwrap();
    let running = Service::builder(config).start(shutdown.clone()).await;
    let running = running.map_err(|error| format!("{error:#}"))?;
    shutdown.cancel();
    if let Some(running) = running {
        running.ended().await;
    }
    Ok(())
}

/// Starts and stops all parts on a thread of their own, which may block.
fn start_beside(folder: PathBuf) -> oneshot::Receiver<Result<(), String>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Nobody receives the answer after the timeout.
        let _ = sender.send(runtime.block_on(start(folder)));
    });
    receiver
}

/// Returns a data folder as a service leaves it, with a trusted key.
async fn used_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("plugin-store/trusted");
    fs::create_dir_all(&trusted).unwrap();
    let key = KeyPair::generate(None).unwrap().public;
    fs::write(trusted.join("ada.pub"), key).unwrap();
    fs::create_dir(folder.path().join("notices")).unwrap();
    for list in ["feedback.json", "silences.json"] {
        fs::write(folder.path().join(list), "[]").unwrap();
    }
    start(folder.path().to_owned()).await.unwrap();
    folder
}

/// Returns the files below a folder.
fn files(folder: &Path, below: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, below, into),
            false => drop(into.insert(path.strip_prefix(below).unwrap().display().to_string())),
        }
    }
}

#[tokio::test]
async fn nothing_in_the_place_of_a_file_blocks_a_start() {
    let folder = used_folder().await;
    let mut found = BTreeSet::new();
    files(folder.path(), folder.path(), &mut found);
    let known: BTreeSet<String> = NAMES.map(str::to_owned).into();
    let new: Vec<_> = found.difference(&known).collect();
    assert!(new.is_empty(), "add {new:?} to NAMES");

    let cases = NAMES
        .iter()
        .flat_map(|name| THINGS.map(|thing| (*name, thing)));
    let cases: Vec<(&str, &str)> = cases.collect();
    for at_a_time in cases.chunks(STARTS) {
        let mut starts = Vec::new();
        for (name, thing) in at_a_time {
            let folder = used_folder().await;
            put(thing, &folder.path().join(name));
            let started = start_beside(folder.path().to_owned());
            starts.push((name, thing, folder, started));
        }
        for (name, thing, folder, started) in starts {
            let started = tokio::time::timeout(START_TIMEOUT, started).await;
            let Ok(started) = started else {
                panic!("a {thing} as {name} blocks the start");
            };
            if let Err(error) = started.unwrap() {
                let file = name.trim_end_matches("-wal").trim_end_matches("-shm");
                assert!(error.contains(file), "{thing} as {name}: {error}");
            }
            drop(folder);
        }
    }
}
