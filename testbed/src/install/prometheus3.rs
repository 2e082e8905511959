//! Builds Prometheus 3 by the Go compiler, without its service discoveries for clouds.
//!
//! Debian's Prometheus 2.42 knows neither UTF-8 names nor the text format 1.0.0.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::go::go;
use super::{Announced, Artefact, step};
use crate::cache;

/// Version of the server.
pub const VERSION: &str = "3.8.0";
const NAME: &str = "prometheus-3.8.0";
const TAKES: &str = "about 3 min on 2 cores";
/// The module of version 3.x.y has the version 0.30x.y.
const SOURCES: &str = "github.com/prometheus/prometheus@v0.308.0";
const MODULE: &str = include_str!("../../prometheus/go.mod");
const SUMS: &str = include_str!("../../prometheus/go.sum");
/// File that imports every service discovery, and with it the libraries of all clouds. Without it,
/// the build takes half of the time.
const DISCOVERIES: &str = "plugins/plugins.go";

/// Output of `go mod download -json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: PathBuf,
}

pub(super) fn artefact() -> Artefact {
    Artefact {
        name: format!("Prometheus {VERSION}"),
        path: cache::find(NAME),
        takes: TAKES,
    }
}

/// Returns the path of the program, after a build if it is missing.
pub async fn prometheus3() -> Result<PathBuf> {
    let folder = cache::built(NAME, |folder: PathBuf| async move {
        let announced = Announced::new(format!("Prometheus {VERSION}"), TAKES);
        let log = folder.join("install.log");
        let sources = folder.join("source");
        copy(&download(&folder).await?, &sources)?;
        fs::remove_file(sources.join(DISCOVERIES))
            .with_context(|| format!("cannot remove {DISCOVERIES} from the sources"))?;
        fs::write(folder.join("go.mod"), MODULE)?;
        fs::write(folder.join("go.sum"), SUMS)?;
        let mut command = go(&folder)?;
        command.env("CGO_ENABLED", "0");
        command
            .args(["build", "-trimpath", "-buildvcs=false"])
            .arg(format!(
                "-ldflags=-s -w -X github.com/prometheus/common/version.Version={VERSION}"
            ));
        command.args([
            "-o",
            "prometheus",
            "github.com/prometheus/prometheus/cmd/prometheus",
        ]);
        step("go build Prometheus", command, &log).await?;
        fs::remove_dir_all(&sources)?;
        announced.done();
        Ok(())
    })
    .await?;
    Ok(folder.join("prometheus"))
}

/// Downloads the sources, and returns their folder in Go's cache. That folder is read-only.
async fn download(folder: &Path) -> Result<PathBuf> {
    let output = folder.join("download.json");
    let mut command = go(folder)?;
    command.args(["mod", "download", "-json", SOURCES]);
    step("go mod download", command, &output).await?;
    let text = fs::read_to_string(&output)?;
    // Go may write about its own download before.
    let json = text.find('{').map_or("", |start| &text[start..]);
    let download: Download = serde_json::from_str(json)
        .with_context(|| format!("cannot find the sources of Prometheus in {text}"))?;
    Ok(download.dir)
}

/// Copies a folder with all files. The copy is writable.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
