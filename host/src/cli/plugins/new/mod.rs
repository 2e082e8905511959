//! `plugins new`: makes a project that builds and passes its tests, with a small, useful plugin.

mod name;
mod rust;
mod scripted;
mod sdk;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::PluginsError;
use crate::cli::Output;

/// Arguments of `plugins new`.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// Name of the plugin: lower-case letters, digits and hyphens
    pub name: String,
    /// Kind of the plugin
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// Language of the plugin
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub language: Language,
    /// Folder of the project, which must not exist yet; by default NAME in the current folder
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// Kind of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Evaluates samples
    Detector,
    /// Asks for operations
    Action,
}

/// Language of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Small and fast; needs cargo
    Rust,
    /// Needs npm
    Javascript,
    /// Needs pip
    Python,
}

/// Project that is not yet written to disk.
struct Project {
    /// Path of each file below the project's folder, and its text.
    files: Vec<(String, String)>,
    /// Commands to run in the project, in order.
    commands: Vec<String>,
}

/// Text of the contract.
const CONTRACT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/plugin.wit"));

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Action => "action",
        }
    }
}

pub(super) fn run<W: Write>(
    args: &NewArgs,
    output: Output,
    out: &mut W,
) -> Result<bool, PluginsError> {
    let NewArgs {
        name,
        kind,
        language,
        path,
    } = args;
    let folder = path.clone().unwrap_or_else(|| PathBuf::from(name));
    let not_made = |reason: String| PluginsError::NotMade {
        path: folder.clone(),
        reason,
    };
    name::check(name, *language).map_err(not_made)?;
    let project = match language {
        Language::Rust => rust::project(name, *kind).map_err(not_made)?,
        Language::Javascript | Language::Python => scripted::project(name, *kind, *language),
    };
    write(&folder, &project).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => not_made(
            "it is there already, and nothing is overwritten: give another --path".to_owned(),
        ),
        _ => not_made(error.to_string()),
    })?;
    match output {
        Output::Text => {
            writeln!(out, "made {}; next:", folder.display())?;
            writeln!(out, "  cd {}", folder.display())?;
            for command in &project.commands {
                writeln!(out, "  {command}")?;
            }
        }
        Output::Json => {
            let files: Vec<&str> = project
                .files
                .iter()
                .map(|(path, _)| path.as_str())
                .collect();
            writeln!(
                out,
                "{}",
                json!({ "path": folder, "files": files, "commands": project.commands })
            )?;
        }
    }
    Ok(true)
}

/// Writes the whole project, or returns an error. Refuses a folder that exists already, and leaves
/// it unchanged.
fn write(folder: &Path, project: &Project) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(folder)?;
    for (path, text) in &project.files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, kind: Kind, language: Language) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let args = NewArgs {
            name: name.to_owned(),
            kind,
            language,
            path: Some(folder.path().join("a/project")),
        };
        let mut out = Vec::new();
        assert!(run(&args, Output::Text, &mut out).unwrap());
        let text = String::from_utf8(out)
            .unwrap()
            .replace(&folder.path().display().to_string(), "FOLDER");
        (folder, text)
    }

    #[test]
    fn a_project_says_what_to_do_next_and_leaves_no_gap_to_fill_in() {
        for (kind, language) in [
            (Kind::Detector, Language::Rust),
            (Kind::Action, Language::Rust),
            (Kind::Detector, Language::Javascript),
            (Kind::Action, Language::Javascript),
            (Kind::Detector, Language::Python),
            (Kind::Action, Language::Python),
        ] {
            let (folder, text) = made("my-plugin", kind, language);
            assert!(text.contains("anomalyzer plugins test "), "{text}");
            for entry in fs::read_dir(folder.path().join("a/project")).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let content = fs::read_to_string(&path).unwrap();
                    assert!(!content.contains("{{"), "{}", path.display());
                }
            }
        }
        let (_, text) = made("my-plugin", Kind::Detector, Language::Rust);
        insta::assert_snapshot!(text, @r"
        made FOLDER/a/project; next:
          cd FOLDER/a/project
          rustup target add wasm32-unknown-unknown    # once
          cargo test
          cargo build --release --target wasm32-unknown-unknown
          anomalyzer plugins test target/wasm32-unknown-unknown/release/my_plugin.wasm
        ");
    }

    #[test]
    fn nothing_is_overwritten() {
        let (folder, _) = made("one", Kind::Action, Language::Rust);
        let project = folder.path().join("a/project");
        fs::write(project.join("src/lib.rs"), "mine").unwrap();
        let args = NewArgs {
            name: "two".to_owned(),
            kind: Kind::Action,
            language: Language::Rust,
            path: Some(project.clone()),
        };
        let error = run(&args, Output::Text, &mut Vec::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("nothing is overwritten"), "{error}");
        assert_eq!(
            fs::read_to_string(project.join("src/lib.rs")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn a_name_that_no_plugin_can_have_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("project"));
        let args = NewArgs {
            name: "No".to_owned(),
            kind: Kind::Action,
            language: Language::Rust,
            path,
        };
        assert!(
            run(&args, Output::Text, &mut Vec::new())
                .unwrap_err()
                .to_string()
                .contains("lower-case")
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
