//! Where plugins come from, and what each of them may use up.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::signature::TrustedKey;
use crate::domain::duration;

/// Below the data folder: where `serve` keeps versions, grants, modes and trusted keys.
pub const STORE: &str = "plugin-store";

/// Where plugins come from and what they may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginConfig {
    /// Every `*.wasm` in this folder is loaded. `cargo xtask plugins` fills `target/plugins`.
    pub folder: PathBuf,
    /// Where compiled code is kept between starts. Without it, everything is compiled at every
    /// start. Whoever can write there runs code in this process: it must belong to the service
    /// alone.
    pub cache: Option<PathBuf>,
    /// Where versions, grants and modes are kept over restarts. `serve` uses `plugin-store` in its
    /// data folder; without it, nothing is kept.
    pub store: Option<PathBuf>,
    /// How many versions of a plugin are kept.
    pub keep_versions: usize,
    /// Takes only what a trusted key has signed.
    pub require_signature: bool,
    /// Whose signatures count, besides the keys in `trusted` below `store`.
    pub trusted: Vec<TrustedKey>,
    /// What each plugin may use up.
    pub limits: Limits,
    /// The program that compiles: this one, or another of the same build that has the subcommand
    /// `compile-plugin`. It runs as a child process with limits. Without it, plugins are compiled
    /// in this process and without limits, which is for tests and benchmarks that compile files of
    /// their own: `serve`, `demo` and the command line always set it.
    #[serde(skip)]
    pub compiler: Option<PathBuf>,
    /// Makes every NaN the same NaN, so that a replay on another machine gives the same bits. Only
    /// the benchmark that measures its price turns it off.
    #[serde(skip, default = "always")]
    pub canonical_nan: bool,
    /// Interrupts what runs past its deadline and counts what is allocated. Only the benchmark that
    /// measures the price of that turns it off.
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
            keep_versions: 10,
            require_signature: false,
            trusted: Vec::new(),
            limits: Limits::default(),
            compiler: None,
            canonical_nan: true,
            contained: true,
        }
    }
}

/// What a plugin may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// Linear memory of all instances together, in bytes.
    pub total_memory_bytes: u64,
    /// How long one call (`observe`, `next`) may take.
    #[serde(with = "duration")]
    pub call_deadline: Duration,
    /// How long instantiation, `describe` and `open` may take, each by itself.
    #[serde(with = "duration")]
    pub describe_deadline: Duration,
    /// Size of a component's file, in bytes.
    pub max_component_bytes: u64,
    /// Processor time, over all threads, that compiling one component may take, in whole seconds.
    /// One made of JavaScript or Python takes half a minute.
    #[serde(with = "duration")]
    pub compile_cpu: Duration,
    /// Address space of the process that compiles one component, in bytes.
    pub compile_memory_bytes: u64,
    /// Threads that run plugins; 0 is one per core.
    pub threads: usize,
    /// How many calls may wait for one thread.
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
