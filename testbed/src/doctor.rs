//! What the testbed needs: what of it is here, and how to get what is not.

use serde::Serialize;

use crate::{install, tools};

/// A program or an installed server.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// What it is.
    pub name: String,
    /// Whether it is here.
    pub here: bool,
    /// Where and which version, or why not.
    pub detail: String,
    /// How to get it.
    pub remedy: String,
}

/// Looks at everything; changes nothing.
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
