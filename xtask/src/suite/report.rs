//! Table of the tests that ran against each real server, and the reasons for those that did not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::is_ci;
use super::servers::{Installed, NAMES};
use crate::testbed;

/// Variable that names the report. Each test appends a line to it.
const REPORT: &str = "ANOMALYZER_TEST_REPORT";

#[derive(Debug, Deserialize)]
struct Line {
    server: String,
    version: Option<String>,
    test: String,
    ran: bool,
    why: Option<String>,
}

/// File that tests append to.
pub struct Report {
    file: PathBuf,
}

impl Report {
    /// Creates an empty report.
    pub fn new() -> Result<Self> {
        let file = testbed::folder()?.join("report.jsonl");
        fs::write(&file, "").with_context(|| format!("{} can't be written", file.display()))?;
        Ok(Self { file })
    }

    /// Returns the variable that names the file to the tests.
    pub fn environment(&self) -> [(&'static str, &PathBuf); 1] {
        [(REPORT, &self.file)]
    }

    /// Prints the table.
    pub fn print(&self, installed: &Installed) -> Result<()> {
        println!(
            "\n{:<12} {:<12} {:>5} {:>8}",
            "server", "version", "ran", "not run"
        );
        let lines = self.read()?;
        for server in NAMES {
            let of = lines
                .iter()
                .filter(|line| line.server == server)
                .collect::<Vec<_>>();
            let version = of
                .iter()
                .find_map(|line| line.version.as_deref())
                .unwrap_or("–");
            let ran = of.iter().filter(|line| line.ran).count();
            println!("{server:<12} {version:<12} {ran:>5} {:>8}", of.len() - ran);
        }
        // Many tests lack the same server, so each reason is printed once, with its tests.
        let mut reasons: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for line in lines.iter().filter(|line| !line.ran) {
            let why = installed
                .why_missing(&line.server)
                .or_else(|| line.why.clone());
            let why = why.unwrap_or_else(|| "the test does not say why".to_owned());
            reasons
                .entry((line.server.clone(), why))
                .or_default()
                .push(&line.test);
        }
        for ((server, why), tests) in reasons {
            println!("\nnot run for lack of {server} ({why}):");
            tests.iter().for_each(|test| println!("  {test}"));
        }
        Ok(())
    }

    /// Checks that every test ran.
    ///
    /// # Errors
    /// Returns an error if `CI` is set and a test did not run, or no test used one of the servers:
    /// the table then proves nothing about that server.
    pub fn judge(&self) -> Result<()> {
        let lines = self.read()?;
        let left_out = lines.iter().filter(|line| !line.ran).count();
        if is_ci() && left_out > 0 {
            bail!("{left_out} tests did not run, and with CI set nothing may be left out");
        }
        let untested = NAMES
            .iter()
            .filter(|name| !lines.iter().any(|line| line.server == **name))
            .collect::<Vec<_>>();
        if is_ci() && !untested.is_empty() {
            bail!("no test ran against {untested:?}, and with CI set nothing may be left out");
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<Line>> {
        let text = fs::read_to_string(&self.file)
            .with_context(|| format!("{} can't be read", self.file.display()))?;
        let lines = text.lines().map(|line| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    "{} has a line that is no report: {line}",
                    self.file.display()
                )
            })
        });
        lines.collect()
    }
}
