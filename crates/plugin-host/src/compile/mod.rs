//! Compiles foreign bytes in a child process. Compilation is the step at which a small file can do
//! the most harm: 126 KB can take 75 s and 2.5 GB. The child therefore has limits on its processor
//! time and its memory. Its output reaches this process only through the runtime's own cache.

mod artifact_index;
mod child;
mod parent;

use parking_lot::Mutex;
use std::path::{Path, PathBuf};

use wasmtime::Cache;
use wasmtime::component::Component;

use super::config::{Limits, PluginConfig};
use super::error::PluginError;
use artifact_index::Kept;
use parent::Failure;

pub use child::{CompileArgs, compile_and_exit};

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

/// Compiler for one engine.
pub(super) struct Compiler {
    program: Option<PathBuf>,
    kept: Option<Kept>,
    cache: Option<Cache>,
    canonical_nan: bool,
    limits: Limits,
    /// Lock for one child at a time, because each child may use all the memory that it is allowed.
    turn: Mutex<()>,
}

impl Compiler {
    /// Prepares the cache. A child needs a folder even if none is configured. That folder is
    /// private, and is removed with the compiler.
    pub(super) fn new(config: &PluginConfig) -> Result<Self, PluginError> {
        let kept = match (&config.cache, &config.compiler) {
            (Some(folder), _) => Some(Kept::at(folder)?),
            (None, Some(_)) => Some(Kept::temporary()?),
            (None, None) => None,
        };
        let cache = kept.as_ref().map(Kept::cache).transpose()?;
        Ok(Self {
            program: config.compiler.clone(),
            kept,
            cache,
            canonical_nan: config.canonical_nan,
            limits: config.limits.clone(),
            turn: Mutex::new(()),
        })
    }

    /// Returns the runtime's cache.
    pub(super) fn cache(&self) -> Option<Cache> {
        self.cache.clone()
    }

    /// Compiles a component, or takes it from the cache. Only components that were compiled within
    /// the limits get into the cache. `digest` is the digest of `bytes`.
    pub(super) fn compile(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
        digest: &str,
    ) -> Result<Component, String> {
        if let (Some(program), Some(kept)) = (&self.program, &self.kept) {
            self.compile_outside(program, kept, engine, bytes, digest)?;
        }
        let before = self.compiled_here();
        let component =
            Component::from_binary(engine, bytes).map_err(|error| format!("{error:#}"))?;
        if self.program.is_some() && self.compiled_here() > before {
            tracing::warn!(
                plugin.digest = digest,
                "cached plugin code was unusable, compiled in this process"
            );
        }
        Ok(component)
    }

    /// Compiles the component in a child, unless it is in the cache.
    fn compile_outside(
        &self,
        program: &Path,
        kept: &Kept,
        engine: &wasmtime::Engine,
        bytes: &[u8],
        digest: &str,
    ) -> Result<(), String> {
        if kept.has(engine, digest) {
            return Ok(());
        }
        let _turn = self.turn.lock();
        if kept.has(engine, digest) {
            return Ok(());
        }
        if let Some(why) = kept.refused(engine, digest, &self.limits) {
            return Err(why);
        }
        let desk = kept.desk()?;
        match parent::compile(
            program,
            bytes,
            desk.path(),
            self.canonical_nan,
            &self.limits,
        ) {
            Ok(()) => kept.take_over(engine, digest, desk.path()),
            Err(Failure::Limit(why)) => {
                kept.refuse(engine, digest, &self.limits, &why);
                Err(why)
            }
            Err(Failure::Other(why)) => Err(why),
        }
    }

    /// Returns the number of times that code was not found in the cache and was compiled in this
    /// process.
    pub(super) fn compiled_here(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }
}
