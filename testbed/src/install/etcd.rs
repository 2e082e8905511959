//! Builds etcd by the Go compiler.

use std::path::PathBuf;

use anyhow::Result;

use super::go::go;
use super::{Announced, Artefact, step};
use crate::cache;

/// Version of the server.
pub const VERSION: &str = "3.6.5";
const NAME: &str = "etcd-3.6.5";
const TAKES: &str = "about 1 min on 2 cores";
const MODULE: &str = include_str!("../../etcd/go.mod");
const SUMS: &str = include_str!("../../etcd/go.sum");

pub(super) fn artefact() -> Artefact {
    Artefact {
        name: format!("etcd {VERSION}"),
        path: cache::find(NAME),
        takes: TAKES,
    }
}

/// Returns the path of the program, after a build if it is missing.
pub async fn etcd() -> Result<PathBuf> {
    let folder = cache::built(NAME, |folder: PathBuf| async move {
        let announced = Announced::new(format!("etcd {VERSION}"), TAKES);
        std::fs::write(folder.join("go.mod"), MODULE)?;
        std::fs::write(folder.join("go.sum"), SUMS)?;
        let mut command = go(&folder)?;
        command.env("CGO_ENABLED", "0");
        command.args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
            "etcd",
            "go.etcd.io/etcd/server/v3",
        ]);
        step("go build etcd", command, &folder.join("install.log")).await?;
        announced.done();
        Ok(())
    })
    .await?;
    Ok(folder.join("etcd"))
}
