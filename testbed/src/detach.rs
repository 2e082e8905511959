//! A testbed in the background: a second instance of this program in a process group of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anomalyzer_testbed::State;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Maximum time until the servers are ready. It includes building all of them.
const READY_WITHIN: Duration = Duration::from_secs(60 * 60);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Starts `up` with the same arguments in the background, passes its output on, and returns when
/// the servers are ready.
pub async fn start(path: &Path) -> Result<State> {
    let log = path.with_extension("log");
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(program);
    command.args(
        std::env::args_os()
            .skip(1)
            .filter(|argument| argument != "--detach"),
    );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0);
    let mut background = Background(Some(
        command
            .spawn()
            .context("cannot start a testbed in the background")?,
    ));
    let mut said = File::open(&log)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        // The state is read before the log, so that all output up to that state is passed on.
        let (ended, state) = (background.ended()?, State::read(path)?);
        let mut news = Vec::new();
        said.read_to_end(&mut news)?;
        std::io::stderr().write_all(&news)?;
        if let Some(status) = ended {
            bail!("the testbed in the background ended ({status})");
        }
        match state {
            Some(state) if background.is(state.owner.pid) => {
                background.leave();
                return Ok(state);
            }
            _ if Instant::now() > deadline => {
                bail!("the testbed in the background is not ready after {READY_WITHIN:?}")
            }
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The testbed in the background. Dropping it stops the testbed: nobody waits for it any more.
struct Background(Option<Child>);

impl Background {
    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.0.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    fn is(&self, pid: u32) -> bool {
        self.0.as_ref().is_some_and(|child| child.id() == pid)
    }

    /// Lets the testbed outlive this process.
    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            terminate(child.id());
        }
    }
}

fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The testbed may have ended already.
        let _ended = kill_process(pid, Signal::TERM);
    }
}

/// Asks the testbed to stop, and cleans up after it if it does not stop in time.
pub async fn stop(state: &State, path: &Path) -> Result<()> {
    if state.owner.lives() {
        terminate(state.owner.pid);
        let deadline = Instant::now() + STOPPED_WITHIN;
        while state.owner.lives() && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    state.clean_up(path)
}
