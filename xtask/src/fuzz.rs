//! Runs the fuzz targets, and prints for each the time, the executions and the coverage.
//!
//! The targets have the layout of `cargo fuzz`, and run without it. They need no nightly toolchain:
//! libFuzzer's coverage instrumentation works on a stable one, and only sanitizers need nightly.
//! Without sanitizers, the targets still find overflows and failed assertions. Safe Rust rules out
//! memory errors.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// Compiler flags that `cargo fuzz` passes, without those for the sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// The time of a run, in seconds.
#[derive(Clone, Copy)]
pub enum Time {
    /// Each target runs for this long.
    PerTarget(u64),
    /// The targets share this time equally.
    Together(u64),
}

/// Builds the targets, then runs each target in `only`, or all if `only` is empty, for `time`.
pub fn run(time: Time, only: &[String]) -> Result<()> {
    let folder = workspace::root().join("fuzz");
    let targets = targets(&folder.join("corpus"))?;
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        bail!(
            "there is no fuzz target {unknown}: there are {}",
            targets.join(", ")
        );
    }
    let target = workspace::target().join("fuzz");
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--locked", "--release", "--manifest-path"])
        .arg(folder.join("Cargo.toml"));
    // With `--target`, cargo applies RUSTFLAGS only to the targets, and not to build scripts and
    // procedural macros.
    let host = host_tuple()?;
    cargo
        .arg("--target-dir")
        .arg(&target)
        .args(["--target", &host]);
    process::run(cargo.env("RUSTFLAGS", FLAGS)).context("the fuzz targets do not compile")?;
    println!(
        "{:14} {:>9} {:>13} {:>9}",
        "target", "seconds", "executions", "covered"
    );
    let chosen: Vec<&String> = targets
        .iter()
        .filter(|name| only.is_empty() || only.contains(name))
        .collect();
    let seconds = match time {
        Time::PerTarget(seconds) => seconds,
        Time::Together(seconds) => (seconds / chosen.len().max(1) as u64).max(1),
    };
    for name in chosen {
        let found = target.join("corpus").join(name);
        fs::create_dir_all(&found)?;
        let mut fuzz = Command::new(target.join(&host).join("release").join(name));
        fuzz.arg(format!("-max_total_time={seconds}")).args([
            "-print_final_stats=1",
            "-timeout=20",
            "-max_len=65536",
        ]);
        fuzz.arg(format!(
            "-artifact_prefix={}/broken-{name}-",
            target.display()
        ));
        // libFuzzer writes new inputs to the first folder and only reads the second, which is in
        // the repository.
        fuzz.arg(&found).arg(folder.join("corpus").join(name));
        let log = target.join(format!("{name}.log"));
        let to =
            File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
        fuzz.stderr(to.try_clone()?).stdout(to);
        let status = process::run_within(&mut fuzz, Duration::from_secs(seconds + 120))?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let figure = |key: &str| {
            said.lines()
                .rev()
                .find_map(|line| line.strip_prefix(key))
                .map_or("?", str::trim)
        };
        let covered = said
            .lines()
            .rev()
            .find_map(|line| line.split_once("cov: ")?.1.split(' ').next())
            .unwrap_or("?");
        println!(
            "{name:14} {seconds:>9} {:>13} {covered:>9}",
            figure("stat::number_of_executed_units:")
        );
        ensure!(
            status.success(),
            "{name} found something; all of it is in {}:\n{}",
            log.display(),
            end(&said)
        );
    }
    Ok(())
}

fn host_tuple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc)
        .args(["--print", "host-tuple"])
        .output()
        .context("rustc does not start")?;
    ensure!(
        said.status.success(),
        "rustc does not say what it runs on: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Returns the names of the targets: the folders in `corpus`, because each target has a corpus.
fn targets(corpus: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(corpus).with_context(|| format!("{} can't be read", corpus.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn end(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
