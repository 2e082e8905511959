//! Kills the leftover processes of an earlier run of the host. If that host was killed before it
//! could stop them, they still hold the ports.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Environment variable that marks a process as ours.
pub const MARK: &str = "ANOMALYZER_LOCAL";

/// Time that killed processes may take to end.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Kills every process whose environment has our mark with the value `mark`, and returns their
/// number. Blocks until they are gone. Does nothing where there is no `/proc`.
pub fn kill(mark: &str) -> usize {
    let deadline = Instant::now() + TERMINATION_TIMEOUT;
    let found = marked(mark);
    let count = found.len();
    let mut left = found;
    while !left.is_empty() && Instant::now() < deadline {
        for pid in left {
            // The process may have ended in the meantime.
            let _gone = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
        left = marked(mark);
    }
    count
}

/// Returns the marked processes. A process that ended has no environment any more, so that it is
/// not found.
fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != getpid())
        .filter(|pid| {
            fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).is_ok_and(|environment| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == wanted.as_bytes())
            })
        })
        .collect()
}
