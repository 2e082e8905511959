//! Runs all checks in order, and stops at the first failure.

mod report;
mod servers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::guests::examples::Missing;
use crate::testbed::Testbed;
use crate::{guests, lint, process, workspace};

use report::Report;
use servers::Servers;

const DENY: [&str; 6] = ["deny", "--offline", "check", "bans", "licenses", "sources"];

/// Version of cargo-deny that is known to accept our `deny.toml` and to build with our compiler.
pub const CARGO_DENY: &str = "cargo-deny@0.20.2";

pub fn run() -> Result<()> {
    let begun = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("lint", || lint::run(0))?;
    // Missing servers are built in the background during the next steps, because that takes
    // minutes.
    let servers = step("real servers: begin to install", Servers::install)?;
    step("plugins", guests::build)?;
    let without = step("plugins in other languages", examples)?;
    step("plugins that mean harm", guests::build_evil)?;
    step("clippy", || {
        cargo(&[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("cargo deny", deny)?;
    step("lock file of the fuzz targets", || {
        // The fuzz targets are a workspace of their own, and no other step checks their lock file.
        let manifest = workspace::root().join("fuzz").join("Cargo.toml");
        process::run(
            workspace::cargo()
                .args(["fetch", "--locked", "--manifest-path"])
                .arg(manifest),
        )
    })?;
    step("docs", || {
        let mut doc = workspace::cargo();
        doc.args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings");
        process::run(&mut doc)
    })?;
    step("compile the tests", || {
        cargo(&["test", "--locked", "--workspace", "--no-run"])
    })?;
    step(
        "plugins made by `anomalyzer plugins new`",
        guests::projects::try_out,
    )?;
    let installed = step("real servers: wait until they are installed", || {
        servers.wait()
    })?;
    let report = Report::new()?;
    let testbed = step("real servers: start", || installed.up())?;
    let tested = step("tests", || tests(testbed.as_ref(), &report, &without));
    if testbed.is_some() {
        step("real servers: stop", || {
            drop(testbed);
            Ok(())
        })?;
    }
    report.print(&installed)?;
    for Missing { language, why } in &without {
        println!("\nnot run for lack of plugins in {language}: {why:#}");
    }
    tested?;
    report.judge()?;
    println!("\nAll passed in {}.", minutes(begun.elapsed()));
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    process::run(workspace::cargo().args(arguments))
}

/// Runs cargo-deny without the check for advisories, which needs a database from the network.
fn deny() -> Result<()> {
    if process::output(workspace::cargo().args(["deny", "--version"])).is_err() {
        println!("cargo-deny is missing: cargo install {CARGO_DENY} --locked");
        cargo(&["install", CARGO_DENY, "--locked"])?;
    }
    // cargo-deny runs offline. Only crates for other systems are fetched, because no build needed
    // them.
    cargo(&["fetch", "--locked"])?;
    cargo(&DENY)
}

/// Builds the examples, and returns the languages that could not be built.
///
/// # Errors
/// Returns an error if an example is broken, or if one is missing and `CI` is set.
fn examples() -> Result<Vec<Missing>> {
    let missing = guests::examples::build()?;
    if is_ci() && !missing.is_empty() {
        bail!(
            "no plugins in {}, and with CI set nothing may be left out",
            guests::examples::joined_names(&missing)
        );
    }
    Ok(missing)
}

fn tests(testbed: Option<&Testbed>, report: &Report, without: &[Missing]) -> Result<()> {
    let mut test = workspace::cargo();
    // All tests run, because the table shows which tests ran, and one failure must not hide
    // another.
    test.args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .envs(report.environment());
    if let Some(testbed) = testbed {
        test.envs(testbed.environment());
    }
    // A test of a plugin that was not built would fail.
    test.arg("--");
    for Missing { language, .. } in without {
        test.args(["--skip", &format!("other_languages::{language}")]);
    }
    process::run(&mut test)
}

fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n── {name} ──");
    let begun = Instant::now();
    let done =
        work().with_context(|| format!("{name} failed after {}", minutes(begun.elapsed())))?;
    println!("── {name}: {} ──", minutes(begun.elapsed()));
    Ok(done)
}

fn minutes(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 {
        format!("{:.1} s", elapsed.as_secs_f32())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// Returns true if `CI` is set: a test that is left out is then a failure.
/// `anomalyzer_testbed::shared` reads the variable in the same way.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}
