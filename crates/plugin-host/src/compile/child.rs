//! Compiles a component in a child process. The child limits itself, then reads the component from
//! its standard input and compiles it into a cache folder. It runs nothing of the component.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use wasmtime::component::Component;

use super::super::engine;
use super::artifact_index::cache_in;

/// Exit code if the runtime does not accept the component. The reason is on standard error.
pub(super) const UNUSABLE: u8 = 3;
/// Exit code if the child was stopped by something that is not the component's fault. The reason is
/// on standard error.
pub(super) const UNABLE: u8 = 4;

/// Niceness of the child, relative to the host.
const NICER: i32 = 10;

/// Arguments of `anomalyzer compile-plugin`, which no person calls.
#[derive(Clone, Debug, Args)]
pub struct CompileArgs {
    /// The folder to compile into
    #[arg(long)]
    into: PathBuf,
    /// Seconds of processor time
    #[arg(long)]
    cpu_seconds: u64,
    /// Bytes of address space
    #[arg(long)]
    memory_bytes: u64,
    /// Leave NaNs as they are
    #[arg(long)]
    any_nan: bool,
}

/// Compiles the component on standard input, within the limits. `main` calls this before it starts
/// anything else.
pub fn compile_and_exit(args: &CompileArgs) -> ExitCode {
    let done = limit(args).map_err(|error| (UNABLE, format!("the limits can't be set: {error}")));
    match done.and_then(|()| compile(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            // If this fails, nobody reads standard error any more.
            let _ = std::io::stderr().write_all(reason.as_bytes());
            ExitCode::from(code)
        }
    }
}

/// Sets the limits, before the first byte of the component is read.
fn limit(args: &CompileArgs) -> rustix::io::Result<()> {
    // The kernel kills this process when its parent ends.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The kernel sends SIGXCPU at the limit, and SIGKILL a second later.
    lower(
        Resource::Cpu,
        args.cpu_seconds,
        args.cpu_seconds.saturating_add(1),
    )?;
    lower(Resource::As, args.memory_bytes, args.memory_bytes)?;
    lower(Resource::Core, 0, 0)?;
    nice(NICER)?;
    Ok(())
}

/// Lowers a limit. A limit that is lower already stays.
fn lower(what: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let now = getrlimit(what);
    let least = |limit: u64, now: Option<u64>| Some(now.map_or(limit, |now| now.min(limit)));
    setrlimit(
        what,
        Rlimit {
            current: least(soft, now.current),
            maximum: least(hard, now.maximum),
        },
    )
}

fn compile(args: &CompileArgs) -> Result<(), (u8, String)> {
    let unable = |reason: String| (UNABLE, reason);
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| unable(format!("it can't be read: {error}")))?;
    let cache = cache_in(&args.into).map_err(unable)?;
    let engine = engine::runtime(!args.any_nan, true, Some(cache.clone()))
        .map_err(|error| unable(format!("the runtime can't be set up: {error:#}")))?;
    Component::from_binary(&engine, &bytes).map_err(|error| (UNUSABLE, format!("{error:#}")))?;
    // The cache counts the code that it stored. It only logs a failure to store.
    if cache.cache_misses() == 0 {
        return Err(unable(format!(
            "what was compiled can't be written to {}",
            args.into.display()
        )));
    }
    Ok(())
}
