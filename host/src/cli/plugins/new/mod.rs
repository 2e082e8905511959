//! `plugins new`: a project that builds and passes its tests, with a small plugin that is of use.

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

/// What to make.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// What the plugin is called: lower-case letters, digits and hyphens
    pub name: String,
    /// Looks at samples, or asks for operations
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// In which language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub language: Language,
    /// Where; a folder that is not there yet. By default NAME, here
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Looks at samples
    Detector,
    /// Asks for operations
    Action,
}

/// In which language a plugin is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Small and fast; needs cargo
    Rust,
    /// Needs npm
    Javascript,
    /// Needs pip
    Python,
}

/// A project before it is written.
struct Project {
    /// Path below its folder, and text.
    files: Vec<(String, String)>,
    /// What to do in it, line by line.
    commands: Vec<String>,
}

/// The contract, as it is served.
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

/// All of it or an error; a folder that is there is left alone.
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
