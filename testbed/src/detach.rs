//! A testbed in the background: this program once more, in a process group of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anomalyzer_testbed::State;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Everything may have to be built first.
const READY_WITHIN: Duration = Duration::from_secs(60 * 60);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts `up` with the same arguments but in the background, passes on what it says, and returns
/// when it is ready.
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
        // Looked at before the log is: all that was said until then is passed on.
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
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The testbed in the background; whoever gives up waiting for it stops it.
struct Background(Option<Child>);

impl Background {
    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.0.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    fn is(&self, pid: u32) -> bool {
        self.0.as_ref().is_some_and(|child| child.id() == pid)
    }

    /// It may outlive us.
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
        // It may have ended by now.
        let _ended = kill_process(pid, Signal::TERM);
    }
}

/// Asks the testbed to stop, and cleans up after it if it does not.
pub async fn stop(state: &State, path: &Path) -> Result<()> {
    if state.owner.lives() {
        terminate(state.owner.pid);
        let deadline = Instant::now() + STOPPED_WITHIN;
        while state.owner.lives() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    state.clean_up(path)
}
