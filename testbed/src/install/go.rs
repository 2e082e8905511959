//! The Go compiler, without the user's own settings.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{spawner, tools};

/// Prepares `go` to run in `folder`. It downloads a newer release of itself if a module needs one.
pub(super) fn go(folder: &Path) -> Result<Command> {
    let mut command = spawner::command(tools::GO.found()?);
    command
        .current_dir(folder)
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    if std::env::var_os("GOTOOLCHAIN").is_none() {
        command.env("GOTOOLCHAIN", "auto");
    }
    Ok(command)
}
