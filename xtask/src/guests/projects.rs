//! Builds and tests the projects that `anomalyzer plugins new` makes, with the commands from their
//! README. Only the target folder and the profile differ: they are those of the guests, so that
//! nothing is compiled twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::toolchain::{TARGET, Toolchain};
use crate::{process, workspace};

const KINDS: [&str; 2] = ["detector", "action"];

/// Makes one project of each kind with the program that the tests use, and tests it.
pub fn try_out() -> Result<()> {
    let program = workspace::target().join("debug").join("anomalyzer");
    let toolchain = Toolchain::get()?;
    let folder = target().join("projects");
    for kind in KINDS {
        // The name has a hyphen, because the name of the built file has an underscore instead.
        let name = format!("made-{kind}");
        let project = folder.join(&name);
        if project.exists() {
            fs::remove_dir_all(&project)
                .with_context(|| format!("{} can't be removed", project.display()))?;
        }
        let mut new = process::command(&program);
        process::run(
            new.args(["plugins", "new", &name, "--kind", kind, "--path"])
                .arg(&project),
        )?;
        process::run(cargo("test", &project).arg("--quiet"))?;
        let module = build(&project, &name, &toolchain)?;
        process::run(
            process::command(&program)
                .args(["plugins", "test"])
                .arg(module),
        )?;
    }
    Ok(())
}

/// Returns the path of the core module that cargo builds.
fn build(project: &Path, name: &str, toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = cargo("build", project);
    // Uses the project's own release settings under the name of the guests' profile, so that cargo
    // finds the guests' dependencies already built.
    cargo.args([
        "--quiet",
        "--config",
        "profile.guest.inherits='release'",
        "--profile",
        "guest",
    ]);
    toolchain.apply(&mut cargo);
    process::run(&mut cargo)?;
    Ok(target()
        .join(TARGET)
        .join("guest")
        .join(format!("{}.wasm", name.replace('-', "_"))))
}

fn cargo(what: &str, project: &Path) -> std::process::Command {
    let mut cargo = workspace::cargo();
    cargo
        .arg(what)
        .arg("--manifest-path")
        .arg(project.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target());
    cargo
}

fn target() -> PathBuf {
    workspace::target().join("guests")
}
