//! Runs other programs. Each has a process group of its own, so that its descendants end with it.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
};

use crate::workspace;

/// True after Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// True once all running programs must end; new ones are refused.
static ENDING: AtomicBool = AtomicBool::new(false);
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Time for a program to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Ends all running programs on Ctrl-C, SIGTERM and SIGHUP. Functions that wait for a program then
/// return an error, and their callers clean up.
pub fn end_all_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        INTERRUPTED.store(true, Ordering::SeqCst);
        begin_to_end();
    })
    .context("Ctrl-C can't be caught")
}

/// Returns true after Ctrl-C.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

fn begin_to_end() {
    ENDING.store(true, Ordering::SeqCst);
    // A process that left its group becomes a child of this process when its parent ends, and
    // `end_all` finds it.
    let _ = set_child_subreaper(Some(getpid()));
    for group in running().iter() {
        signal(*group, Signal::TERM);
    }
}

/// Ends every program that this process started and that still runs. Call this last.
pub fn end_all() {
    if !is_interrupted() && running().is_empty() {
        return;
    }
    begin_to_end();
    let begun = Instant::now();
    // Other threads that wait for the programs clean up first.
    while !running().is_empty() && begun.elapsed() < GRACE + POLL_INTERVAL * 10 {
        std::thread::sleep(POLL_INTERVAL);
    }
    for group in running().iter() {
        signal(*group, Signal::KILL);
    }
    for _ in 0..100 {
        let left = children();
        if left.is_empty() {
            return;
        }
        for child in left {
            let _ = kill_process(child, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns all children of this process, adopted ones included.
fn children() -> Vec<Pid> {
    let this = getpid().as_raw_nonzero().get();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids =
        processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| parent(*id) == Some(this))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent(process: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Field 2, the name, may hold any characters. State and parent follow its closing parenthesis.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Prepares a program of this workspace, to run in the workspace's folder.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    command
}

/// Runs `command` to its end.
///
/// # Errors
/// Returns an error that names the command if it does not start or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = Running::start(command)?.wait(None)?;
    if !status.success() {
        bail!("`{}`: {status}", command_line(command));
    }
    Ok(())
}

/// Runs `command` to its end, for at most `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<ExitStatus> {
    Running::start(command)?.wait(Some(limit))
}

/// Returns the trimmed output of a short command.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("`{}` does not start", command_line(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let error = errors
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("error"));
        let error = error.map_or_else(String::new, |error| format!(": {error}"));
        bail!("`{}`: {}{error}", command_line(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns true if `PATH` has `program`.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A running program. Dropping it ends the program.
pub struct Running {
    child: Child,
    group: i32,
    command: String,
}

impl Running {
    /// Starts `command`, unless all programs are ending.
    pub fn start(command: &mut Command) -> Result<Self> {
        // Holding the lock during the start makes Ctrl-C find either no process or a registered
        // one.
        let mut running = running();
        if is_ending() {
            bail!("interrupted");
        }
        let started = Self::start_at_the_end(command)?;
        running.insert(started.group);
        Ok(started)
    }

    /// Starts a program that cleans up. A second Ctrl-C does not end it.
    pub fn start_at_the_end(command: &mut Command) -> Result<Self> {
        let text = command_line(command);
        // Without the terminal as input: the kernel stops a background group that reads the
        // terminal.
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.with_context(|| format!("`{text}` does not start"))?;
        let group = i32::try_from(child.id()).context("the process id is out of range")?;
        Ok(Self {
            child,
            group,
            command: text,
        })
    }

    /// Waits for the program to end. Kills it after `limit`, or some time after Ctrl-C.
    pub fn wait(mut self, limit: Option<Duration>) -> Result<ExitStatus> {
        self.wait_until(limit, true)
    }

    /// Waits for the program to end, and returns its output too. The output is read at the end, so
    /// it must fit into a pipe: a few lines.
    pub fn wait_for_output(mut self) -> Result<(ExitStatus, String)> {
        let status = self.wait_until(None, true)?;
        let mut printed = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            output.read_to_string(&mut printed)?;
        }
        Ok((status, printed))
    }

    /// Waits for a program that cleans up, also after Ctrl-C.
    pub fn wait_at_the_end(mut self, limit: Duration) -> Result<()> {
        let status = self.wait_until(Some(limit), false)?;
        if !status.success() {
            bail!("`{}`: {status}", self.command);
        }
        Ok(())
    }

    fn wait_until(&mut self, limit: Option<Duration>, heeds_ctrl_c: bool) -> Result<ExitStatus> {
        let begun = Instant::now();
        let mut interrupted_at = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if let Some(limit) = limit.filter(|limit| begun.elapsed() > *limit) {
                bail!("`{}` was not done within {limit:?}", self.command);
            }
            if heeds_ctrl_c
                && is_interrupted()
                && interrupted_at.get_or_insert_with(Instant::now).elapsed() > GRACE
            {
                bail!("interrupted: `{}` was killed", self.command);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if !ended {
            signal(self.group, Signal::TERM);
            let begun = Instant::now();
            while begun.elapsed() < GRACE && !matches!(self.child.try_wait(), Ok(Some(_))) {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        // An interrupted program may leave other processes of its group running. A program that
        // ended by itself has cleaned up.
        if !ended || is_ending() {
            signal(self.group, Signal::KILL);
        }
        let _ = self.child.wait();
        running().remove(&self.group);
    }
}

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock()
}

/// Sends `signal` to a group. A missing group is no error: the caller wants it to end.
fn signal(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, signal);
    }
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let parts = std::iter::once(program).chain(command.get_args());
    parts
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(process: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        stat.is_ok_and(|stat| {
            !stat
                .rsplit_once(')')
                .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
        })
    }

    #[test]
    fn what_a_program_started_ends_with_it_when_it_is_cut_short() {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped());
        let mut running = Running::start(&mut shell).unwrap();
        let mut line = Vec::new();
        let output = running.child.stdout.as_mut().unwrap();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let sleeper: i32 = String::from_utf8(line).unwrap().trim().parse().unwrap();
        assert!(is_there(sleeper));
        drop(running);
        let begun = Instant::now();
        while is_there(sleeper) {
            assert!(begun.elapsed() < GRACE, "it is still there");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    #[test]
    fn what_takes_too_long_or_fails_is_named() {
        let error = run_within(
            Command::new("sleep").arg("1000"),
            Duration::from_millis(100),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("`sleep 1000` was not done within 100ms"),
            "{error}"
        );
        let error = run(Command::new("sh").args(["-c", "exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c exit 3") && error.contains('3'),
            "{error}"
        );
        assert!(output(&mut Command::new("/no/such/program")).is_err());
    }
}
