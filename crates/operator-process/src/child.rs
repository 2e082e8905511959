//! A process in a process group of its own. The end of the process ends all of its descendants in
//! the group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// Time between two checks if a group is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time that the kernel may take to end killed processes.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// A running child process. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Child {
    child: tokio::process::Child,
    group: Option<Pid>,
}

impl Child {
    /// Starts `command` with piped stdout and stderr, and without input.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Takes stdout and stderr of the process. Later calls return `None`.
    pub fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for the end of the process and kills the rest of its group. Returns a description of
    /// the end. Cancel-safe.
    pub async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        self.signal(Signal::KILL);
        self.gone(Instant::now() + KILL_TIMEOUT).await;
        describe(status)
    }

    /// Sends SIGTERM to the whole group, then SIGKILL when `grace` is over. Returns a description
    /// of the end when the group is gone.
    pub async fn stop(&mut self, grace: Duration) -> String {
        let deadline = Instant::now() + grace;
        self.signal(Signal::TERM);
        let status = timeout(grace, self.child.wait()).await;
        if status.is_ok() {
            self.gone(deadline).await;
        }
        self.signal(Signal::KILL);
        let killed_by = Instant::now() + KILL_TIMEOUT;
        let how = match status {
            Ok(status) => describe(status),
            Err(_late) => match timeout(KILL_TIMEOUT, self.child.wait()).await {
                Ok(_status) => format!("killed, as it did not end within {grace:?}"),
                Err(_late) => "does not end although it was killed".to_owned(),
            },
        };
        self.gone(killed_by).await;
        how
    }

    /// Waits until no process of the group runs, or until `deadline`.
    async fn gone(&self, deadline: Instant) {
        while self.is_there() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // An error means that the group is gone already, which is the goal.
            let _gone = kill_process_group(group, signal);
        }
    }

    fn is_there(&self) -> bool {
        self.group
            .is_some_and(|group| test_kill_process_group(group).is_ok() && any_runs(group))
    }
}

/// Returns true if a process of the group is more than a zombie. Zombies stay until their parent
/// reaps them, and hold no resources. Without a `/proc`, every process counts as running.
fn any_runs(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let group = group.as_raw_nonzero().to_string();
    processes.flatten().any(|process| {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else {
            return false;
        };
        // Field 2, the name, may contain any character. The state, the parent and the group follow
        // its closing parenthesis.
        let mut fields = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace();
        let runs = fields
            .next()
            .is_some_and(|state| !matches!(state, "Z" | "X"));
        runs && fields.nth(1) == Some(group.as_str())
    })
}

impl Drop for Child {
    fn drop(&mut self) {
        // After the end of the process, its number may belong to another process.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("ended ({error})"),
    }
}
