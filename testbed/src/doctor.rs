//! Lists the needed programs and the installed servers, with a remedy for each missing one.

use serde::Serialize;

use crate::{install, tools};

/// A program or an installed server.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// Name of the program or the server.
    pub name: String,
    /// True if it is installed.
    pub here: bool,
    /// Path and version, or the reason why it is missing.
    pub detail: String,
    /// Advice on getting it.
    pub remedy: String,
}

/// Checks every program and every server. Changes nothing.
pub fn examine() -> Vec<Item> {
    let programs = tools::ALL.iter().map(|tool| {
        let found = tool.found();
        let here = found.is_ok();
        let detail =
            found.map_or_else(|error| error.to_string(), |path| path.display().to_string());
        Item {
            name: format!("{} (for {})", tool.program, tool.needed_for),
            here,
            detail,
            remedy: tool.remedy.to_owned(),
        }
    });
    let servers = install::artefacts().into_iter().map(|artefact| Item {
        name: artefact.name,
        here: artefact.path.is_some(),
        detail: artefact.path.map_or_else(
            || "not installed yet".to_owned(),
            |path| path.display().to_string(),
        ),
        remedy: format!("testbed install ({})", artefact.takes),
    });
    programs.chain(servers).collect()
}
