//! Examines foreign bytes in a child process. The child limits itself, then reads the bytes from
//! its standard input, makes a component of them, compiles it into a cache folder, links it, and
//! asks it to describe itself.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};

use super::super::component::{Surface, component};
use super::super::config::{Limits, PluginConfig};
use super::super::inspect::{describe, link};
use super::super::linker;
use super::super::plugin_info::{Description, PluginInfo, blank};
use super::super::runtime::Runtime;
use super::artifact_index::{DESCRIPTION, ENCODED};
use super::parent::{UNABLE, UNUSABLE};

/// Stack of the thread that examines, in bytes. The stack of a main thread depends on the limits of
/// the user.
const STACK_BYTES: usize = 8 << 20;

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
    /// Name of the bytes, for messages
    #[arg(long)]
    name: String,
    /// Bytes of memory that the plugin may use to describe itself
    #[arg(long)]
    guest_memory_bytes: u64,
    /// Milliseconds in which the plugin must describe itself
    #[arg(long)]
    describe_ms: u64,
    /// Leave NaNs as they are
    #[arg(long)]
    any_nan: bool,
}

/// Reason for a failure, with the exit code that stands for it.
type Failed = (u8, String);

fn unable(reason: impl std::fmt::Display) -> Failed {
    (UNABLE, reason.to_string())
}

/// Examines the bytes on standard input, within the limits. `main` calls this before it starts
/// anything else.
pub fn compile_and_exit(args: &CompileArgs) -> ExitCode {
    let limited = limit(args).map_err(|error| unable(format!("the limits can't be set: {error}")));
    match limited.and_then(|()| on_a_large_stack(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            // If this fails, nobody reads standard error any more.
            let _ = std::io::stderr().write_all(reason.as_bytes());
            ExitCode::from(code)
        }
    }
}

fn on_a_large_stack(args: &CompileArgs) -> Result<(), Failed> {
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || examine(args))
            .map_err(unable)?
            .join()
            // The panic has written its reason.
            .unwrap_or_else(|_| Err(unable("it panicked")))
    })
}

/// Sets the limits, before the first byte of the component is read.
fn limit(args: &CompileArgs) -> rustix::io::Result<()> {
    // The kernel kills this process when its parent ends.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The kernel sends SIGXCPU at the limit, and SIGKILL a second later.
    lower(
        Resource::Cpu,
        args.cpu_seconds,
        Some(args.cpu_seconds.saturating_add(1)),
    )?;
    lower(Resource::As, args.memory_bytes, None)?;
    lower(Resource::Core, 0, Some(0))?;
    nice(NICER)?;
    Ok(())
}

/// Lowers a limit. A limit that is lower already stays.
fn lower(what: Resource, soft: u64, hard: Option<u64>) -> rustix::io::Result<()> {
    let now = getrlimit(what);
    let least = |limit: u64, now: Option<u64>| now.map_or(limit, |now| now.min(limit));
    setrlimit(
        what,
        Rlimit {
            current: Some(least(soft, now.current)),
            maximum: hard.map_or(now.maximum, |hard| Some(least(hard, now.maximum))),
        },
    )
}

/// Lifts the limit of the address space. An instance reserves gigabytes of it and uses little of
/// that: the sandbox limits the memory of the guest.
fn lift_address_space() -> rustix::io::Result<()> {
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(
        Resource::As,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
}

/// Examines the bytes. Leaves a description in the folder, also of bytes that are refused.
fn examine(args: &CompileArgs) -> Result<(), Failed> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| unable(format!("it can't be read: {error}")))?;
    let mut info = PluginInfo {
        name: args.name.clone(),
        ..blank(Path::new(""))
    };
    let examined = steps(args, &bytes, &mut info);
    let described = serde_json::to_vec(&Description::of(&info))
        .map_err(unable)
        .and_then(|text| put(&args.into, DESCRIPTION, &text));
    examined.and(described)
}

fn steps(args: &CompileArgs, bytes: &[u8], info: &mut PluginInfo) -> Result<(), Failed> {
    let unusable = |reason: String| (UNUSABLE, reason);
    let config = PluginConfig {
        cache: Some(args.into.clone()),
        canonical_nan: !args.any_nan,
        limits: Limits {
            memory_bytes: args.guest_memory_bytes,
            describe_deadline: Duration::from_millis(args.describe_ms),
            ..Limits::default()
        },
        ..PluginConfig::default()
    };
    let runtime = Arc::new(Runtime::new(&config).map_err(unable)?);
    let linker = linker::linker(&runtime.engine).map_err(|error| unable(format!("{error:#}")))?;
    let encoded = component(bytes).map_err(unusable)?;
    info.surface = Surface::of(bytes, &encoded).ok();
    let compiler = &runtime.compiler;
    let compiled = compiler
        .compile_here(&runtime.engine, &encoded)
        .map_err(unusable)?;
    // The cache counts the code that it stored. It only logs a failure to store.
    if compiler.compiled_here() == 0 {
        return Err(unable(format!(
            "what was compiled can't be written to {}",
            args.into.display()
        )));
    }
    if let Cow::Owned(encoded) = &encoded {
        put(&args.into, ENCODED, encoded)?;
    }
    lift_address_space().map_err(unable)?;
    let linked = link(&runtime, &linker, &compiled, info).map_err(unusable)?;
    describe(&runtime, &linked, info).map_err(unusable)
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failed> {
    let path = folder.join(name);
    fs::write(&path, bytes)
        .map_err(|error| unable(format!("{} can't be written: {error}", path.display())))
}
