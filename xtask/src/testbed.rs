//! The real servers, which the `testbed` program installs, starts and stops.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Running};
use crate::workspace;

/// Variable that names the state file to the tests.
const STATE: &str = "ANOMALYZER_TESTBED";

/// Maximum time to stop the testbed, which gives its servers a minute.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// Builds `testbed`. `--workspace` gives its dependencies the same features as in the whole
/// workspace, so that they are built once.
pub fn binary() -> Result<PathBuf> {
    process::run(workspace::cargo().args([
        "build",
        "--locked",
        "--workspace",
        "--bin",
        "testbed",
    ]))?;
    Ok(workspace::target().join("debug").join("testbed"))
}

/// Returns the folder of state files, logs and reports.
pub fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("testbed");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder)
}

/// A running testbed. Dropping it stops the servers.
pub struct Testbed {
    binary: PathBuf,
    state: PathBuf,
    environment: Vec<(String, String)>,
}

impl Testbed {
    /// Starts a testbed whose state file is named after `name`. Stops the testbed that a killed run
    /// left behind under this name.
    pub fn up(name: &str, arguments: &[String]) -> Result<Self> {
        let (binary, state) = (binary()?, folder()?.join(format!("{name}.json")));
        // From here on, dropping `testbed` stops all started servers, also if the start fails
        // later.
        let mut testbed = Self {
            binary,
            state,
            environment: Vec::new(),
        };
        testbed.down()?;
        let mut up = process::command(&testbed.binary);
        up.args(["up", "--detach", "--state"])
            .arg(&testbed.state)
            .args(arguments)
            .stdout(Stdio::piped());
        let (status, printed) = Running::start(&mut up)?.wait_for_output()?;
        ensure!(
            status.success(),
            "the real servers did not start ({status})"
        );
        testbed.environment = exports(&printed);
        Ok(testbed)
    }

    /// Returns the variables by which Anomalyzer and the tests find the servers.
    pub fn environment(&self) -> Vec<(String, String)> {
        let state = (STATE.to_owned(), self.state.display().to_string());
        self.environment.iter().cloned().chain([state]).collect()
    }

    /// Returns the text in the state file at a JSON pointer.
    pub fn state(&self, pointer: &str) -> Result<String> {
        let text = std::fs::read_to_string(&self.state)
            .context("the testbed's state file can't be read")?;
        let state: serde_json::Value =
            serde_json::from_str(&text).context("the testbed's state file is not JSON")?;
        let value = state.pointer(pointer).and_then(serde_json::Value::as_str);
        value
            .map(str::to_owned)
            .with_context(|| format!("the testbed's state file has no {pointer}"))
    }

    /// Stops the testbed, also after Ctrl-C.
    fn down(&self) -> Result<()> {
        if !self.state.exists() {
            return Ok(());
        }
        let mut down = process::command(&self.binary);
        Running::start_at_the_end(down.args(["down", "--state"]).arg(&self.state))?
            .wait_at_the_end(STOP_TIMEOUT)
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            println!(
                "the real servers did not stop: {error:#}; stop them by: testbed down --state {}",
                self.state.display()
            );
        }
    }
}

/// Parses lines of the form `export NAME=value`.
fn exports(lines: &str) -> Vec<(String, String)> {
    let exports = lines
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    exports
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_variables_are_read_and_other_lines_passed_over() {
        let lines = "ready\nexport OLLAMA_HOST=http://127.0.0.1:1\nexport X=a=b\n";
        assert_eq!(
            exports(lines),
            [
                ("OLLAMA_HOST".to_owned(), "http://127.0.0.1:1".to_owned()),
                ("X".to_owned(), "a=b".to_owned())
            ]
        );
    }
}
