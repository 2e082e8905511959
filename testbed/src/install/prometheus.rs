//! Prometheus: the program on `PATH`, else the program from Debian's package, unpacked and not
//! installed.
//!
//! Unpacking needs no root and registers no service.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::{Announced, Artefact, step};
use crate::{cache, spawner, tools};

const NAME: &str = "prometheus-debian";
const PROGRAM: &str = "unpacked/usr/bin/prometheus";
const TAKES: &str = "about 10 s";

pub(super) fn artefact() -> Artefact {
    let path = tools::on_path("prometheus")
        .or_else(|| cache::find(NAME).map(|folder| folder.join(PROGRAM)));
    Artefact {
        name: "Prometheus".to_owned(),
        path,
        takes: TAKES,
    }
}

/// Returns the path of the program.
pub async fn prometheus() -> Result<PathBuf> {
    if let Some(program) = tools::on_path("prometheus") {
        return Ok(program);
    }
    let folder = cache::built(NAME, |folder: PathBuf| async move {
        let apt = tools::on_path("apt-get").zip(tools::on_path("dpkg-deb")).ok_or_else(|| {
            anyhow!("prometheus is not on PATH, and this is no Debian to take its package from: install Prometheus 2.42 or newer")
        })?;
        let announced = Announced::new("Prometheus (Debian's package)", TAKES);
        unpack(&folder, &apt.0, &apt.1).await?;
        announced.done();
        Ok(())
    })
    .await?;
    Ok(folder.join(PROGRAM))
}

async fn unpack(folder: &Path, apt: &Path, dpkg: &Path) -> Result<()> {
    let log = folder.join("install.log");
    let download = async || {
        let mut command = spawner::command(apt);
        command.args(["download", "prometheus"]).current_dir(folder);
        step("apt-get download prometheus", command, &log).await
    };
    if download().await.is_err() {
        // The usual reasons are missing or old package lists.
        let mut command = spawner::command(apt);
        command.arg("update");
        step("apt-get update", command, &log)
            .await
            .context("install the Debian package prometheus as root")?;
        download().await?;
    }
    let package = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| anyhow!("apt-get downloaded no package of prometheus"))?;
    let mut command = spawner::command(dpkg);
    command.arg("-x").arg(&package).arg(folder.join("unpacked"));
    step("dpkg-deb", command, &log).await?;
    std::fs::remove_file(package)?;
    Ok(())
}
