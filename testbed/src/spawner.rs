//! One thread that starts every child process and lives as long as this process.
//!
//! Children ask the kernel to be killed when their parent dies, so that not even `kill -9` of a
//! test leaves a broker behind. The kernel takes "parent" to be the *thread* that started them, and
//! a runtime's threads come and go.

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

/// Runs `job` on the lasting thread and waits for what it returns.
pub fn run<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, result) = channel();
    JOBS.send(Box::new(move || {
        // Nobody waits any more only if the caller's thread is gone.
        let _gone = sender.send(job());
    }))
    .map_err(|_ended| io::Error::other("the thread that starts processes has ended"))?;
    result.recv().map_err(io::Error::other)?
}

/// A command for `program` that dies with this process, where util-linux's `setpriv` is there to
/// arrange it.
///
/// `program` is an absolute path, or looked up by the shell's rules.
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
