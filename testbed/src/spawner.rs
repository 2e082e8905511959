//! A thread that starts every child process and lives as long as this process.
//!
//! Children ask the kernel to be killed when their parent dies, so that even `kill -9` of a test
//! leaves no broker behind. For the kernel, the parent is the *thread* that started the child, and
//! the threads of an async runtime come and go.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

type Job = Box<dyn FnOnce() + Send>;

static JOBS: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Job>();
    std::thread::spawn(move || {
        for job in jobs {
            job();
        }
    });
    sender
});

/// Runs `job` on the permanent thread and returns its result.
pub fn run<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = channel();
    JOBS.send(Box::new(move || {
        // Sending fails only if the caller's thread has ended.
        let _gone = sender.send(job());
    }))
    .map_err(|_ended| io::Error::other("the thread that starts processes has ended"))?;
    result.recv().map_err(io::Error::other)?
}

/// Prepares a command for `program` that dies with this process, if util-linux's `setpriv` is
/// installed.
///
/// `program` is an absolute path, or a name that is looked up by the shell's rules.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if setpriv.exists() {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
