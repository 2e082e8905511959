//! Configures the source of the plugins, and the limits of each plugin.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signature::TrustedKey;
use anomalyzer_domain::duration;

/// Name of the folder, below the data folder, in which `serve` keeps versions, grants, modes and
/// trusted keys.
pub const STORE: &str = "plugin-store";

/// Source of the plugins, and their limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginConfig {
    /// Folder of the plugins. Every `*.wasm` in it is loaded. `cargo xtask plugins` fills
    /// `target/plugins`.
    pub folder: PathBuf,
    /// Folder that keeps compiled code between starts. Without it, everything is compiled at every
    /// start. Anyone who can write there can run code in this process. It must belong to the
    /// service alone.
    pub cache: Option<PathBuf>,
    /// Folder that keeps versions, grants and modes over restarts. `serve` uses `plugin-store` in
    /// its data folder. Without it, nothing is kept.
    pub store: Option<PathBuf>,
    /// Maximum size of the compiled code in `cache`, in bytes. The code that was not used for the
    /// longest time makes room.
    pub cache_bytes: u64,
    /// Maximum size of all versions in `store`, in bytes. Candidates may take half of it.
    pub store_bytes: u64,
    /// Number of versions that are kept of a plugin, besides candidates.
    pub keep_versions: usize,
    /// Quotas for uploads that nobody approved yet.
    pub candidates: CandidateQuota,
    /// True if the host accepts only plugins that a trusted key has signed.
    pub require_signature: bool,
    /// Keys whose signatures count, besides the keys in `trusted` below `store`.
    pub trusted: Vec<TrustedKey>,
    /// Limits of each plugin.
    pub limits: Limits,
    /// Program that compiles: this program, or another of the same build that has the subcommand
    /// `compile-plugin`. It runs as a child process with limits. Without it, plugins are compiled
    /// in this process and without limits. Only tests and benchmarks that compile files of their
    /// own do that: `serve`, `demo` and the command line always set it.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
    /// True if every NaN becomes the same NaN, so that a replay on another machine gives the same
    /// bits. Only the benchmark that measures its cost turns it off.
    #[serde(skip, default = "always")]
    pub canonical_nan: bool,
    /// True if calls are interrupted at their deadline and allocations are counted. Only the
    /// benchmark that measures the cost of both turns it off.
    #[serde(skip, default = "always")]
    pub contained: bool,
}

fn always() -> bool {
    true
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            folder: "target/plugins".into(),
            cache: None,
            store: None,
            cache_bytes: 1 << 30,
            store_bytes: 1 << 30,
            keep_versions: 10,
            candidates: CandidateQuota::default(),
            require_signature: false,
            trusted: Vec::new(),
            limits: Limits::default(),
            compiler: None,
            canonical_nan: true,
            contained: true,
        }
    }
}

/// Quotas for candidates: uploaded versions that no admin made live yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CandidateQuota {
    /// Maximum number of candidates of one plugin by one uploader. The next candidate replaces the
    /// oldest one of that uploader.
    pub per_plugin: usize,
    /// Maximum number of plugins of which one uploader has candidates.
    pub plugins_per_uploader: usize,
    /// Maximum size of all candidates of one uploader, in bytes.
    pub bytes_per_uploader: u64,
    /// Maximum number of uploads of one uploader at a time: one is examined, the others wait.
    pub uploads_per_uploader: usize,
}

impl Default for CandidateQuota {
    fn default() -> Self {
        Self {
            per_plugin: 3,
            plugins_per_uploader: 10,
            bytes_per_uploader: 128 << 20,
            uploads_per_uploader: 4,
        }
    }
}

/// Limits of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// Maximum linear memory of all instances together, in bytes.
    pub total_memory_bytes: u64,
    /// Maximum time of one call (`observe`, `next`).
    #[serde(with = "duration")]
    pub call_deadline: Duration,
    /// Maximum time of instantiation, of `describe` and of `open`, each by itself.
    #[serde(with = "duration")]
    pub describe_deadline: Duration,
    /// Maximum size of a component's file, in bytes.
    pub max_component_bytes: u64,
    /// Maximum processor time, over all threads, for compiling one component, in whole seconds. A
    /// component made of JavaScript or Python takes half a minute.
    #[serde(with = "duration")]
    pub compile_cpu: Duration,
    /// Maximum address space of the process that compiles one component, in bytes.
    pub compile_memory_bytes: u64,
    /// Number of threads that run plugins; 0 stands for one per core.
    pub threads: usize,
    /// Maximum number of calls that wait for one thread.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            total_memory_bytes: 2 << 30,
            call_deadline: Duration::from_secs(1),
            describe_deadline: Duration::from_secs(5),
            max_component_bytes: 32 << 20,
            compile_cpu: Duration::from_secs(120),
            compile_memory_bytes: 2 << 30,
            threads: 0,
            queue: 64,
        }
    }
}
