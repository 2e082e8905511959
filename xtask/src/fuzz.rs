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
    let chosen: Vec<&String> = targets
        .iter()
        .filter(|name| only.is_empty() || only.contains(name))
        .collect();
    let seconds = match time {
        Time::PerTarget(seconds) => seconds,
        Time::Together(seconds) => (seconds / chosen.len().max(1) as u64).max(1),
    };
    println!(
        "{:14} {:>9} {:>13} {:>9} {:>9}",
        "target", "seconds", "executions", "covered", "found"
    );
    let build = target.join(&host).join("release");
    let mut broken = Vec::new();
    for name in chosen {
        let ran = fuzz(name, seconds, &build, &target)?;
        println!(
            "{name:14} {seconds:>9} {:>13} {:>9} {:>9}",
            ran.executions,
            ran.covered,
            ran.found.as_ref().map_or("-", |_| "a fault")
        );
        broken.extend(ran.found);
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n\n"));
    Ok(())
}

/// Result of one target.
struct Ran {
    executions: String,
    covered: String,
    /// The end of its output, if the target ended early.
    found: Option<String>,
}

/// Runs one target for `seconds`. A fault of one target must not hide those of the others, so a
/// found fault is no error.
fn fuzz(name: &str, seconds: u64, build: &Path, target: &Path) -> Result<Ran> {
    let found = target.join("corpus").join(name);
    fs::create_dir_all(&found)?;
    let mut fuzz = Command::new(build.join(name));
    fuzz.arg(format!("-max_total_time={seconds}")).args([
        "-print_final_stats=1",
        "-timeout=20",
        "-max_len=65536",
    ]);
    fuzz.arg(format!(
        "-artifact_prefix={}/broken-{name}-",
        target.display()
    ));
    // libFuzzer writes new inputs to the first folder and only reads the second, which is in the
    // repository.
    let corpus = workspace::root().join("fuzz/corpus").join(name);
    fuzz.arg(&found).arg(corpus);
    let log = target.join(format!("{name}.log"));
    let to = File::create(&log).with_context(|| format!("{} can't be written", log.display()))?;
    fuzz.stderr(to.try_clone()?).stdout(to);
    let status = process::run_within(&mut fuzz, Duration::from_secs(seconds + 120));
    let log_text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let figure = |key: &str| {
        log_text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(key))
            .map_or("?", str::trim)
            .to_owned()
    };
    let covered = log_text
        .lines()
        .rev()
        .find_map(|line| line.split_once("cov: ")?.1.split(' ').next())
        .unwrap_or("?");
    let ended = match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(format!("{error:#}")),
    };
    Ok(Ran {
        executions: figure("stat::number_of_executed_units:"),
        covered: covered.to_owned(),
        found: ended.map(|ended| {
            format!(
                "{name} found something ({ended}); all of it is in {}:\n{}",
                log.display(),
                end(&log_text)
            )
        }),
    })
}

fn host_tuple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "host-tuple"])
        .output()
        .context("rustc does not start")?;
    ensure!(
        output.status.success(),
        "rustc does not say what it runs on: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
