//! A child process in a process group of its own, with a log file. It never outlives its owner.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::spawner;

/// Time between two checks of a condition that a caller waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Bytes of a log that go into an error message.
const TAIL: u64 = 3_000;

/// A running child process. Dropping it kills its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` and appends both its outputs to the file `log`. Errors use `name` for the
    /// process.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log of {name}, {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = spawner::run(move || command.spawn())
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Returns the id of the process, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Calls `probe` until it returns `Ok`.
    ///
    /// # Errors
    /// Returns an error with the last lines of the log if the process ends, or if `within` is over.
    pub async fn ready<F>(&mut self, within: Duration, mut probe: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended while starting ({status})\n{}",
                    self.name,
                    tail(&self.log)
                );
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let refused = match tokio::time::timeout(left, probe()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_late) => anyhow!("no answer"),
            };
            if Instant::now() >= deadline {
                bail!(
                    "{} is not ready after {within:?}: {refused:#}\n{}",
                    self.name,
                    tail(&self.log)
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits for the end of a process that does one job.
    ///
    /// # Errors
    /// Returns an error with the last lines of the log if the process does not succeed.
    pub async fn finished(mut self, within: Duration) -> Result<()> {
        match self.ended(within).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} failed ({status})\n{}", self.name, tail(&self.log)),
            None => bail!(
                "{} is not done after {within:?}\n{}",
                self.name,
                tail(&self.log)
            ),
        }
    }

    /// Sends SIGTERM, then SIGKILL when `grace` is over. Returns when the process has ended.
    pub async fn stop(mut self, grace: Duration) {
        self.signal(Signal::TERM);
        if let Ok(None) = self.ended(grace).await {
            tracing::warn!("{} did not stop within {grace:?}; killing it", self.name);
        }
        // Dropping `self` kills the rest of the group.
    }

    async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn signal(&self, signal: Signal) {
        signal_group(self.child.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // Reaps the process. A killed process ends at once.
        let _status = self.child.wait();
    }
}

/// Sends `signal` to every process of the group that `leader` leads. Ignores a group that has
/// ended.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(group, signal);
    }
}

/// Returns the last lines of the file `log` for an error message.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => format!("(its log {} is empty)", log.display()),
        Ok(text) => format!("the end of its log {}:\n{}", log.display(), text.trim_end()),
        Err(error) => format!("(its log {} cannot be read: {error})", log.display()),
    }
}
