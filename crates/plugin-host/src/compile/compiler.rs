//! Compiler of foreign bytes: finds their code in the cache, or has a child examine them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wasmtime::Cache;
use wasmtime::component::Component;

use super::artifact_index::{Artifact, ArtifactStore};
use super::parent::{Failure, Job};
use super::queue::Queue;
use crate::config::{Limits, PluginConfig};
use crate::error::PluginError;
use crate::plugin_info::Description;

/// Foreign bytes to examine.
pub(crate) struct Foreign<'a> {
    pub(crate) bytes: &'a [u8],
    /// SHA-256 of the bytes, in hex.
    pub(crate) digest: &'a str,
    /// Name for messages, as long as the plugin has not told its name.
    pub(crate) name: &'a str,
}

/// Place of an examination in the queues, and the right to give it up.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// True for bytes of someone who may not decide what runs. They have a queue of their own.
    pub(crate) uploader: bool,
    /// Is cancelled when nobody waits for the result any more.
    pub(crate) cancel: &'a CancellationToken,
}

/// Compiled code of examined bytes.
pub(crate) enum Compiled {
    /// Code in the cache.
    Cached(Artifact),
    /// Code in the work folder of a child. It goes with the folder.
    Fresh(TempDir),
}

/// Reason why bytes were refused, with the description up to that point.
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) description: Option<Box<Description>>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            description: None,
        }
    }
}

/// Compiler for one engine.
pub(crate) struct Compiler {
    store: Option<ArtifactStore>,
    cache: Option<Cache>,
    child: Option<PathBuf>,
    canonical_nan: bool,
    limits: Limits,
    /// Children of files in the folder, of admins, and of versions that are to go live.
    trusted: Queue,
    /// Children of uploaders. Another uploader waits, but nobody else does.
    uploaders: Queue,
}

/// Compiler whose work is done by a child process.
#[derive(Clone, Copy)]
pub(crate) struct ChildCompiler<'c> {
    compiler: &'c Compiler,
    program: &'c Path,
    store: &'c ArtifactStore,
}

/// Number of children at a time for trusted bytes. Each may use all the memory of its limit.
const TRUSTED_CHILDREN: usize = 2;
/// Number of children at a time for the bytes of uploaders.
const UPLOADER_CHILDREN: usize = 1;

impl Compiler {
    /// Prepares the cache. A child needs a folder even if none is configured. That folder is
    /// private, and is removed with the compiler.
    pub(crate) fn new(config: &PluginConfig) -> Result<Self, PluginError> {
        let store = match (&config.cache, &config.compiler) {
            (Some(folder), _) => Some(ArtifactStore::at(folder, config.cache_bytes)?),
            (None, Some(_)) => Some(ArtifactStore::temporary(config.cache_bytes)?),
            (None, None) => None,
        };
        let cache = store.as_ref().map(ArtifactStore::cache).transpose()?;
        Ok(Self {
            store,
            cache,
            child: config.compiler.clone(),
            canonical_nan: config.canonical_nan,
            limits: config.limits.clone(),
            trusted: Queue::new(TRUSTED_CHILDREN),
            uploaders: Queue::new(UPLOADER_CHILDREN),
        })
    }

    /// Returns the runtime's cache.
    pub(crate) fn cache(&self) -> Option<Cache> {
        self.cache.clone()
    }

    /// Returns the compiler of foreign bytes, if a program for it is configured.
    pub(crate) fn child(&self) -> Option<ChildCompiler<'_>> {
        Some(ChildCompiler {
            compiler: self,
            program: self.child.as_deref()?,
            store: self.store.as_ref()?,
        })
    }

    /// Compiles a component in this process, or takes it from the runtime's cache.
    pub(crate) fn compile_here(
        &self,
        engine: &wasmtime::Engine,
        component: &[u8],
    ) -> Result<Component, String> {
        Component::from_binary(engine, component).map_err(|error| format!("{error:#}"))
    }

    /// Takes compiled code over into the cache, and loads it. `bytes` are the bytes that were
    /// examined, and `digest` is their digest.
    pub(crate) fn load(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
        digest: &str,
        compiled: Compiled,
    ) -> Result<Component, String> {
        let Some(store) = &self.store else {
            return Err("there is no folder for compiled code; see plugins.cache".to_owned());
        };
        let artifact = match compiled {
            Compiled::Cached(artifact) => artifact,
            Compiled::Fresh(work_folder) => store.take_over(engine, digest, work_folder.path())?,
        };
        let component = match artifact.component() {
            Some(encoded) => Cow::Owned(store.encoded(digest, encoded)?),
            None => Cow::Borrowed(bytes),
        };
        let before = self.compiled_here();
        let loaded = self.compile_here(engine, &component);
        if self.compiled_here() > before {
            // The code was checked a moment ago, so that only its removal since then explains this.
            tracing::warn!(
                plugin.digest = digest,
                "cached plugin code was unusable, compiled in this process"
            );
        }
        loaded
    }

    /// Returns true if the compiled code of these bytes is in the cache.
    pub(crate) fn knows(&self, engine: &wasmtime::Engine, digest: &str) -> bool {
        let find = |store: &ArtifactStore| store.find(engine, digest).is_some();
        self.store.as_ref().is_some_and(find)
    }

    /// Takes the rights of others on new files of the cache away.
    pub(crate) fn make_new_files_private(&self) {
        if let Some(store) = &self.store {
            store.make_new_files_private();
        }
    }

    /// Removes the compiled code of bytes that were refused after all.
    pub(crate) fn forget(&self, engine: &wasmtime::Engine, digest: &str) {
        if let Some(store) = &self.store {
            store.forget(engine, digest);
        }
    }

    /// Returns the size of the cache, in bytes.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.store.as_ref().map_or(0, ArtifactStore::bytes)
    }

    /// Returns the number of times that code was not found in the cache and was compiled in this
    /// process.
    pub(crate) fn compiled_here(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }
}

impl ChildCompiler<'_> {
    /// Examines foreign bytes in a child, or finds them in the cache. Keeps nothing of bytes that
    /// are refused, apart from a note about a limit that they reached.
    pub(crate) fn examine(
        &self,
        engine: &wasmtime::Engine,
        foreign: &Foreign<'_>,
        turn: &Turn<'_>,
    ) -> Result<(Compiled, Description), Refusal> {
        let (store, compiler) = (self.store, self.compiler);
        let digest = foreign.digest;
        if let Some(found) = store.find(engine, digest) {
            return Ok((Compiled::Cached(found.0), found.1));
        }
        if let Some(reason) = store.refused(engine, digest, &compiler.limits) {
            return Err(reason.into());
        }
        let queue = match turn.uploader {
            true => &compiler.uploaders,
            false => &compiler.trusted,
        };
        let _place = queue.enter(turn.cancel).ok_or_else(cancelled)?;
        let work_folder = store.work_folder()?;
        let job = Job {
            program: self.program,
            bytes: foreign.bytes,
            name: foreign.name,
            into: work_folder.path(),
            canonical_nan: compiler.canonical_nan,
            limits: &compiler.limits,
            cancel: turn.cancel,
        };
        let failure = match job.run() {
            Ok(()) => {
                let description = store.description(work_folder.path())?;
                return Ok((Compiled::Fresh(work_folder), description));
            }
            Err(failure) => failure,
        };
        let reason = match failure {
            Failure::Limit(reason) => {
                store.refuse(engine, digest, &compiler.limits, &reason);
                reason
            }
            Failure::Other(reason) => reason,
            Failure::Cancelled => cancelled(),
        };
        Err(Refusal {
            reason,
            description: store.description(work_folder.path()).ok().map(Box::new),
        })
    }
}

fn cancelled() -> String {
    "its examination was given up, because nobody waits for it any more".to_owned()
}
