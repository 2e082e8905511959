//! One run of a container: a process, its group, and its log.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::environment::Launch;
use super::log_file::LogFile;
use crate::process::signal_group;
use crate::{spawner, tools};

/// Maximum time to read the rest of the pipes after the processes have ended.
const LOGS_WITHIN: Duration = Duration::from_secs(1);

/// A running container. Dropping it kills its process group.
#[derive(Debug)]
pub(super) struct Run {
    child: Child,
    group: u32,
    logs: JoinSet<()>,
}

impl Run {
    /// Starts `launch` in `folder`, with the container's environment instead of this process's.
    pub(super) fn start(
        launch: &Launch,
        host_name: &str,
        folder: &Path,
        log: &LogFile,
    ) -> io::Result<Self> {
        let program = found(&launch.program).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("exec: {:?}: executable file not found", launch.program),
            )
        })?;
        std::fs::create_dir_all(folder)?;
        let mut command = spawner::command(program);
        command
            .args(&launch.arguments)
            .current_dir(folder)
            .process_group(0)
            .env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("HOSTNAME", host_name);
        command.envs(&launch.environment);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let runtime = tokio::runtime::Handle::current();
        let mut child = spawner::run(move || {
            let _entered = runtime.enter();
            tokio::process::Command::from(command).spawn()
        })?;
        let mut logs = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            logs.spawn(log.clone().copy(output));
        }
        if let Some(output) = child.stderr.take() {
            logs.spawn(log.clone().copy(output));
        }
        let group = child
            .id()
            .ok_or_else(|| io::Error::other("the process ended while it was started"))?;
        Ok(Self { child, group, logs })
    }

    /// Returns the process group, which is the id of the first process.
    pub(super) fn group(&self) -> u32 {
        self.group
    }

    /// Waits for the end of the first process. This is cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends SIGTERM to the first process, as a container runtime does, and SIGKILL to all
    /// processes when `grace` is over.
    pub(super) async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if let Some(first) = i32::try_from(self.group).ok().and_then(Pid::from_raw) {
            // An error means that the process has ended already.
            let _gone = kill_process(first, Signal::TERM);
        }
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(status) => status,
            Err(_late) => self.kill().await,
        }
    }

    /// Sends SIGKILL to all processes at once.
    pub(super) async fn kill(&mut self) -> io::Result<ExitStatus> {
        signal_group(self.group, Signal::KILL);
        self.child.wait().await
    }

    /// Kills the processes that the first one left behind, then completes the log.
    pub(super) async fn finish(mut self) {
        signal_group(self.group, Signal::KILL);
        let logs = async { while self.logs.join_next().await.is_some() {} };
        // A process that left the group may still hold a pipe.
        let _held = tokio::time::timeout(LOGS_WITHIN, logs).await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        signal_group(self.group, Signal::KILL);
    }
}

/// Returns the exit code as a container runtime reports it: after a signal, 128 plus its number.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Finds a program: a path is used unchanged, and a name is looked up on `PATH`.
fn found(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        Some(PathBuf::from(program)).filter(|path| tools::is_executable(path))
    } else {
        tools::on_path(program)
    }
}
