//! Runs the program as a child process that never outlives its test.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Maximum time that the program may take to end after a signal.
const END: Duration = Duration::from_secs(40);

/// Variables that name real services. Only tests that use these services may see them.
const SETTINGS: [&str; 7] = [
    "KAFKA_BROKERS",
    "KAFKA_TOPIC_METRICS",
    "KAFKA_TOPIC_SOLUTIONS",
    "KUBECONFIG",
    "OLLAMA_HOST",
    "OLLAMA_MODEL",
    "PROMETHEUS_URL",
];

/// Returns `anomalyzer serve` with the configuration at `config`, and without the settings of the
/// environment.
pub fn serve(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anomalyzer"));
    command.args(["serve", "--config"]).arg(config);
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
}

/// `anomalyzer` as a child process. Its output goes to files, because a pipe that nobody reads
/// would block it.
pub struct Program {
    child: Child,
    written: TempDir,
}

/// Exit status and output of a program that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub lines: String,
    pub errors: String,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let written = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(written.path().join(name)).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file("lines"))
            .stderr(file("errors"))
            .spawn()
            .unwrap();
        Self { child, written }
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the program to end. If it runs for longer than `limit`, terminates it and panics
    /// with its output.
    #[track_caller]
    pub fn ended(mut self, limit: Duration) -> Ended {
        let in_time = self.wait(limit);
        if in_time.is_none() {
            self.signal(Signal::TERM);
            self.wait(END);
        }
        let read = |name: &str| read(self.written.path(), name);
        let (lines, errors) = (read("lines"), read("errors"));
        let Some(status) = in_time else {
            panic!(
                "it did not end within {limit:?}\n{}\n{errors}",
                tail(&lines)
            )
        };
        Ended {
            status,
            lines,
            errors,
        }
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::TERM);
            self.wait(END);
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read(folder: &Path, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap()).into_owned()
}

/// Returns the last 25 lines.
pub fn tail(lines: &str) -> String {
    let lines: Vec<&str> = lines.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
