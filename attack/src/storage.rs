//! Damaged files of the data folder.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::Arguments;
use crate::service::{Options, Service, crashed};
use crate::tally::Tally;

/// Ways to damage a file.
const DAMAGES: [&str; 8] = [
    "empty",
    "half",
    "zeros",
    "garbled",
    "text",
    "missing",
    "folder",
    "link to nothing",
];
/// Files of the data folder.
const FILES: [&str; 7] = [
    "history.sqlite",
    "bus.sqlite",
    "memory.sqlite",
    "local.json",
    "silences.json",
    "feedback.json",
    "plugin-store",
];

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut first = Service::start(arguments, Options::default()).await?;
    let admin = first.client("admin");
    for number in 0..3 {
        admin.act("no-action", &format!("a test {number}")).await?;
    }
    let silence = serde_json::json!({ "targets": { "name": "x" }, "for": "1h", "why": "a test" });
    admin
        .send(reqwest::Method::POST, "/api/v1/silences", &silence)
        .await?;
    first.stop().await?;
    let (mut refused, mut remedies) = (0, 0);
    for file in FILES {
        for damage in DAMAGES {
            let mut service = Service::new(arguments, Options::default())?;
            copy(&first.path("data"), &service.path("data"))?;
            harm(&service.path("data").join(file), damage)?;
            let started = service.launch().await;
            let status = service.ended()?;
            let crash = status.is_some_and(crashed) || service.log().contains("panicked");
            tally.attempt(!crash, || format!("{file} {damage}: {}", service.log_end()));
            if started.is_err() {
                refused += 1;
                // A refusal names the file, and says what to do.
                let end = service.log_end();
                let named = end.contains(file) || end.contains("data");
                remedies += u32::from(named);
                tally.check(named, || {
                    format!("{file} {damage}: the refusal names no file: {end}")
                });
            }
            if file == "history.sqlite" && damage != "missing" && damage != "empty" {
                let _ = service.stop().await;
                let flag = format!("--data-dir={}", service.path("data").display());
                let (status, text) = service.command(&["audit", "verify", &flag])?;
                tally.check(!status.success() || started.is_ok(), || {
                    format!("{file} {damage}: a false \"intact\": {text}")
                });
            }
        }
    }
    tally.note(
        "refused to start",
        &format!("{refused}, {remedies} of them name the file"),
    );
    Ok(tally)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn harm(path: &PathBuf, damage: &str) -> Result<()> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let remove = || {
        if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        }
    };
    if path.exists() {
        remove()?;
    }
    match damage {
        "empty" => std::fs::write(path, b"")?,
        "half" => std::fs::write(path, &bytes[..bytes.len() / 2])?,
        "zeros" => std::fs::write(path, vec![0; bytes.len().max(100)])?,
        "garbled" => {
            let mut bytes = bytes;
            let length = bytes.len();
            for byte in bytes.iter_mut().skip(length / 2).step_by(7) {
                *byte ^= 0x5a;
            }
            std::fs::write(path, bytes)?;
        }
        "text" => std::fs::write(path, b"this is no data")?,
        "folder" => std::fs::create_dir_all(path)?,
        "link to nothing" => std::os::unix::fs::symlink("/nowhere/at/all", path)?,
        _ => {}
    }
    Ok(())
}
