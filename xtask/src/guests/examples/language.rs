//! Languages of the examples: for each the tool, its installation, and the command that makes a
//! component.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// A language of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    JavaScript,
    Python,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::JavaScript, Self::Python];

    /// Kinds of plugins. Each language has one example of each kind.
    pub const KINDS: [&str; 2] = ["detector", "action"];

    /// Returns the name of the program that makes components. [`Language::pinned`] pins its
    /// version.
    pub fn tool(self) -> &'static str {
        match self {
            Self::JavaScript => "componentize-js",
            Self::Python => "componentize-py",
        }
    }

    /// Returns the programs that install and run the tool. The first one is the interpreter.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["node", "npm"],
            Self::Python => &["python3"],
        }
    }

    /// Returns advice on getting the programs that this task can't install.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::JavaScript => {
                "Node.js 20.19 or newer with npm, and a way to npm's registry: nodejs.org"
            }
            Self::Python => {
                "Python 3.10 or newer with venv, and a way to PyPI: Debian's package python3-venv"
            }
        }
    }

    /// Returns the files in [`Language::folder`] that pin the versions of the tool and its
    /// dependencies.
    pub fn pinned(self) -> &'static [&'static str] {
        match self {
            Self::JavaScript => &["package.json", "package-lock.json"],
            Self::Python => &["requirements.txt"],
        }
    }

    /// Returns the folder of the examples, relative to the root of the workspace.
    pub fn folder(self) -> String {
        format!("plugins/examples/{self}")
    }

    /// Returns the files and folders that go into a component. Results of a build by hand in the
    /// same folder are not among them.
    pub fn sources(self) -> Vec<String> {
        let own = self
            .pinned()
            .iter()
            .chain(&Self::KINDS)
            .map(|name| format!("{}/{name}", self.folder()));
        own.chain(["wit".to_owned(), "xtask/src/guests/examples".to_owned()])
            .collect()
    }

    /// Installs the tool into an empty folder that holds nothing but [`Language::pinned`].
    pub fn install(self, into: &Path) -> Result<()> {
        match self {
            // Downloaded packages must not run scripts during the installation.
            Self::JavaScript => process::run(
                Command::new("npm")
                    .args([
                        "ci",
                        "--ignore-scripts",
                        "--engine-strict",
                        "--no-audit",
                        "--no-fund",
                    ])
                    .current_dir(into),
            ),
            Self::Python => {
                process::run(
                    Command::new("python3")
                        .args(["-m", "venv", "venv"])
                        .current_dir(into),
                )?;
                let mut pip = Command::new(into.join("venv/bin/python"));
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--only-binary",
                    ":all:",
                ]);
                process::run(
                    pip.args(["--requirement", "requirements.txt"])
                        .current_dir(into),
                )
            }
        }
    }

    /// Makes the component of an example, with the commands from the examples' README.
    pub fn componentize(self, tools: &Path, kind: &str, output: &Path) -> Result<()> {
        let world = format!("{kind}-plugin");
        let wit = workspace::root().join("wit");
        let mut tool = Command::new(self.executable(tools));
        tool.current_dir(workspace::root().join(self.folder()));
        match self {
            Self::JavaScript => {
                tool.arg(format!("{kind}/{kind}.js"))
                    .arg("--wit")
                    .arg(wit)
                    .args(["--world-name", &world]);
                tool.args([
                    "--disable",
                    "stdio",
                    "random",
                    "clocks",
                    "http",
                    "fetch-event",
                ])
                .arg("--out")
                .arg(output);
            }
            Self::Python => {
                tool.args(["--quiet", "--world", &world, "--wit-path"])
                    .arg(wit);
                tool.args([
                    "componentize",
                    "--stub-wasi",
                    "--python-path",
                    kind,
                    "--output",
                ])
                .arg(output)
                .arg(kind);
            }
        }
        process::run(&mut tool).with_context(|| format!("the {kind} in {self} can't be built"))
    }

    fn executable(self, tools: &Path) -> PathBuf {
        match self {
            Self::JavaScript => tools.join("node_modules/.bin/componentize-js"),
            Self::Python => tools.join("venv/bin/componentize-py"),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
        })
    }
}
