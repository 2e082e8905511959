//! The Go compiler, kept from what the user has set for work of his own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{spawner, tools};

/// `go`, to be run in `folder`; it fetches a newer release of itself if a module asks for one.
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
