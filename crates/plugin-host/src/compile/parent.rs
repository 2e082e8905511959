//! Starts the child, feeds it, waits for it, and reports its end.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::super::config::Limits;
use super::super::text::one_line;

/// Exit code if the runtime does not accept the component. The reason is on standard error.
pub(super) const UNUSABLE: u8 = 3;
/// Exit code if the child was stopped by something that is not the component's fault. The reason is
/// on standard error.
pub(super) const UNABLE: u8 = 4;

/// Number of threads that one child compiles with. More threads would only use up address space,
/// because each has a stack and a heap.
const THREADS: &str = "4";
const HEAPS: &str = "2";

/// Maximum size of the output that is kept of a child, in bytes.
const MAX_STDERR_BYTES: u64 = 64 << 10;

/// Reason why a child did not compile the component.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The child reached a limit, and would reach it again. The text names the limit and the
    /// remedy.
    Limit(String),
    /// The child failed for another reason.
    Other(String),
    /// The child was killed, because nobody waits for it any more.
    Cancelled,
}

/// Returns the path of the running program, even if its file was replaced meanwhile. Parent and
/// child must be the same build, or the parent would not find the child's output in the cache.
pub fn this_program() -> PathBuf {
    const SELF: &str = "/proc/self/exe";
    if Path::new(SELF).exists() {
        SELF.into()
    } else {
        std::env::current_exe().unwrap_or_else(|_| SELF.into())
    }
}

/// Work for one child.
pub(super) struct Job<'a> {
    pub(super) program: &'a Path,
    pub(super) bytes: &'a [u8],
    /// Name of the bytes, for messages.
    pub(super) name: &'a str,
    /// Folder for the child's output.
    pub(super) into: &'a Path,
    pub(super) canonical_nan: bool,
    pub(super) limits: &'a Limits,
    /// Kills the child.
    pub(super) cancel: &'a CancellationToken,
}

impl Job<'_> {
    /// Runs the child until its end.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let limits = self.limits;
        let seconds = limits.compile_cpu.as_secs().max(1);
        let mut command = Command::new(self.program);
        command.arg("compile-plugin").arg("--into").arg(self.into);
        command.arg(format!("--name={}", self.name));
        command.args(["--cpu-seconds", &seconds.to_string()]);
        command.args(["--memory-bytes", &limits.compile_memory_bytes.to_string()]);
        command.args(["--guest-memory-bytes", &limits.memory_bytes.to_string()]);
        let deadline = limits.describe_deadline.as_millis();
        command.args(["--describe-ms", &deadline.to_string()]);
        if !self.canonical_nan {
            command.arg("--any-nan");
        }
        // The child needs nothing from the environment, which may hold credentials.
        command
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS)
            .env("MALLOC_ARENA_MAX", HEAPS);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            Failure::Other(format!(
                "the compiler {} can't be started: {error}",
                self.program.display()
            ))
        })?;
        // On a machine that is busy with other things, processor time comes slowly.
        let time_limit = Duration::from_secs(seconds.saturating_mul(4).saturating_add(10));
        let ended = feed(child, self.bytes, time_limit, self.cancel)
            .map_err(|error| Failure::Other(format!("the compiler can't be watched: {error}")))?;
        if ended.status.is_none() && self.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        ended.judge(limits, time_limit)
    }
}

/// End of a child.
struct Ended {
    /// Exit status, or None if the child had to be stopped.
    status: Option<ExitStatus>,
    stderr_text: String,
}

fn feed(
    mut child: Child,
    bytes: &[u8],
    time_limit: Duration,
    cancel: &CancellationToken,
) -> io::Result<Ended> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    thread::scope(|scope| {
        let both = (|| {
            // The child may end before it has read everything. Nobody needs to know that.
            thread::Builder::new().spawn_scoped(scope, move || {
                drop(stdin.map(|mut stdin| stdin.write_all(bytes)));
            })?;
            thread::Builder::new().spawn_scoped(scope, move || {
                let mut stderr_text = Vec::new();
                if let Some(mut stderr) = stderr {
                    let _ = stderr
                        .by_ref()
                        .take(MAX_STDERR_BYTES)
                        .read_to_end(&mut stderr_text);
                    // The rest is read but not kept, so that the child never waits for a reader.
                    let _ = io::copy(&mut stderr, &mut io::sink());
                }
                String::from_utf8_lossy(&stderr_text).into_owned()
            })
        })();
        let reader = match both {
            Ok(reader) => reader,
            Err(error) => {
                // The pipes end with the child, and the threads end with the pipes.
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        let status = wait(&mut child, time_limit, cancel)?;
        Ok(Ended {
            status,
            stderr_text: reader.join().unwrap_or_default(),
        })
    })
}

/// Waits for the end of the child. Kills the child after `time_limit`, or when it is cancelled.
fn wait(
    child: &mut Child,
    time_limit: Duration,
    cancel: &CancellationToken,
) -> io::Result<Option<ExitStatus>> {
    const LONGEST_NAP: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    let mut nap = Duration::from_millis(1);
    while begun.elapsed() < time_limit && !cancel.is_cancelled() {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

impl Ended {
    fn judge(self, limits: &Limits, time_limit: Duration) -> Result<(), Failure> {
        let Self {
            status,
            stderr_text,
        } = self;
        let last = stderr_text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or_default();
        let Some(status) = status else {
            return Err(Failure::Other(format!(
                "compiling it was stopped after {time_limit:?}: the machine is busy, or plugins.limits.compile_cpu is too high"
            )));
        };
        let signal = status.signal().and_then(Signal::from_named_raw);
        Err(match status.code().map(u8::try_from) {
            Some(Ok(0)) => return Ok(()),
            _ if signal == Some(Signal::XCPU) => Failure::Limit(format!(
                "compiling it takes more than {:?} of processor time: it is far too complicated for a plugin; raise \
                 plugins.limits.compile_cpu if you trust it",
                limits.compile_cpu
            )),
            _ if out_of_memory(&stderr_text) => Failure::Limit(format!(
                "compiling it takes more than {} bytes of memory: it is far too complicated for a plugin; raise \
                 plugins.limits.compile_memory_bytes if you trust it",
                limits.compile_memory_bytes
            )),
            _ if stderr_text.contains("overflowed its stack") => Failure::Limit(
                "compiling it takes more stack than there is: it is nested too deeply".to_owned(),
            ),
            Some(Ok(UNUSABLE)) => Failure::Other(one_line(&stderr_text, 1024)),
            Some(Ok(UNABLE)) => Failure::Other(format!(
                "it could not be compiled: {}",
                one_line(&stderr_text, 1024)
            )),
            _ => Failure::Other(format!(
                "the compiler ended with {status}: {}",
                one_line(last, 512)
            )),
        })
    }
}

/// Returns true if the child ran out of memory. A failed allocation ends the process with these
/// words, and a failed mapping is an error with this number.
fn out_of_memory(stderr_text: &str) -> bool {
    stderr_text.contains("memory allocation of") || stderr_text.contains("(os error 12)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Option<i32>, stderr_text: &str) -> String {
        let ended = Ended {
            status: status.map(ExitStatus::from_raw),
            stderr_text: stderr_text.to_owned(),
        };
        match ended
            .judge(&Limits::default(), Duration::from_secs(9))
            .unwrap_err()
        {
            Failure::Limit(why) => format!("limit: {why}"),
            Failure::Other(why) => why,
            Failure::Cancelled => "cancelled".to_owned(),
        }
    }

    /// Returns a status in the format of `wait`: the exit code is in the second byte.
    fn code(code: u8) -> Option<i32> {
        Some(i32::from(code) << 8)
    }

    #[test]
    fn each_end_of_the_child_is_told_by_its_cause() {
        assert!(
            Ended {
                status: code(0).map(ExitStatus::from_raw),
                stderr_text: String::new()
            }
            .judge(&Limits::default(), Duration::ZERO)
            .is_ok()
        );
        assert_eq!(
            told(code(UNUSABLE), "unexpected end\nat 7"),
            "unexpected end at 7"
        );
        assert!(told(code(UNABLE), "no room").contains("could not be compiled: no room"));
        let slow = told(Some(Signal::XCPU.as_raw()), "");
        assert!(
            slow.starts_with("limit: ") && slow.contains("plugins.limits.compile_cpu"),
            "{slow}"
        );
        for (status, stderr_text) in [
            (
                Some(Signal::ABORT.as_raw()),
                "memory allocation of 8 bytes failed",
            ),
            (
                code(UNUSABLE),
                "mmap failed: Cannot allocate memory (os error 12)",
            ),
        ] {
            assert!(
                told(status, stderr_text).contains("plugins.limits.compile_memory_bytes"),
                "{stderr_text}"
            );
        }
        let overflowed = "thread 'main' has overflowed its stack";
        assert!(told(Some(Signal::ABORT.as_raw()), overflowed).contains("nested too deeply"));
        assert!(told(code(101), "thread panicked at\nall is lost").contains("all is lost"));
        assert!(told(None, "").contains("stopped after 9s"));
    }

    #[test]
    fn who_takes_too_long_is_stopped() {
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        let begun = Instant::now();
        let never = CancellationToken::new();
        let time_limit = Duration::from_millis(50);
        assert_eq!(wait(&mut sleeper, time_limit, &never).unwrap(), None);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_child_is_killed_when_its_caller_goes_away() {
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        let (begun, cancel) = (Instant::now(), CancellationToken::new());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&mut sleeper, Duration::from_secs(500), &cancel));
            cancel.cancel();
            assert_eq!(waiter.join().unwrap().unwrap(), None);
        });
        assert!(sleeper.try_wait().unwrap().is_some(), "it is dead");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_child_that_does_not_listen_or_says_too_much_holds_nobody_up() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped());
            feed(
                command.spawn().unwrap(),
                &vec![0; 4 << 20],
                Duration::from_secs(20),
                &CancellationToken::new(),
            )
            .unwrap()
        };
        assert!(run("exit 0").status.unwrap().success());
        let talker = run("head -c 1000000 /dev/zero >&2");
        assert!(talker.status.unwrap().success());
        assert_eq!(talker.stderr_text.len() as u64, MAX_STDERR_BYTES);
    }
}
