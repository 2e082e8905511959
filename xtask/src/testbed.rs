//! The real servers: `testbed` builds, starts and stops them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{self, Running};
use crate::workspace;

/// Names the state file to the tests.
const STATE: &str = "ANOMALYZER_TESTBED";

/// It gives its servers a minute to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(90);

/// Builds `testbed`, with the features that its dependencies have in the whole workspace: with
/// others they would be built twice.
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

/// Where state files, logs and reports go.
pub fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("testbed");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder)
}

/// A testbed that runs, and stops when this is dropped.
pub struct Testbed {
    binary: PathBuf,
    state: PathBuf,
    environment: Vec<(String, String)>,
}

impl Testbed {
    /// Starts it, with its state in a file of that name; one that a killed run left behind is
    /// stopped first.
    pub fn up(name: &str, arguments: &[String]) -> Result<Self> {
        let (binary, state) = (binary()?, folder()?.join(format!("{name}.json")));
        // From here on whatever has started is stopped, also when the rest of the start fails.
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

    /// The variables by which Anomalyzer and the tests find the servers.
    pub fn environment(&self) -> Vec<(String, String)> {
        let state = (STATE.to_owned(), self.state.display().to_string());
        self.environment.iter().cloned().chain([state]).collect()
    }

    /// What the state file says at a JSON pointer.
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

    /// Also after Ctrl-C.
    fn down(&self) -> Result<()> {
        if !self.state.exists() {
            return Ok(());
        }
        let mut down = process::command(&self.binary);
        Running::start_at_the_end(down.args(["down", "--state"]).arg(&self.state))?
            .wait_at_the_end(STOPPED_WITHIN)
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

/// What a shell would make of `export NAME=value` lines.
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
