//! Hosts the plugins: WebAssembly components that anyone can write and nobody has to trust.
//!
//! Only this folder names wasmtime, and no type of wasmtime leaves it. A trap never crosses its
//! border: every misbehaviour of a guest becomes a [`PluginError`]. Instances live on threads of
//! their own, in one store each. Every call has a deadline, and every store has limits. A plugin
//! can import `log` and nothing else. It therefore has no clock, no socket, no file and no
//! randomness: the same input gives the same output.

use anomalyzer_plugin_store::{
    config, detach, folder, log_gate, record, regular_file, repository, signature, stats, text,
    thread_time,
};

mod action;
mod bindings;
mod call;
mod compile;
mod component;
mod detector;
mod engine;
mod error;
mod exports;
mod handle;
mod inspect;
mod instance;
mod limits;
mod linker;
mod plugin_info;
mod plugins;
mod registry;
mod runtime;
mod sandbox;
mod scheduler;
mod state;
mod supervised;
mod worker;

pub use action::{ActionIncident, ActionOutcome, ActionStep};
pub use compile::{CompileArgs, compile_and_exit, this_program};
pub use component::Surface;
pub use config::{CandidateQuota, Limits, PluginConfig, STORE};
pub use detector::{DetectorInstance, Frame, FrameVerdict, RawFinding};
pub use error::PluginError;
pub use handle::{ActionRun, DetectorHandle};
pub use plugin_info::{Need, PluginInfo};
pub use plugins::{PluginHealth, Plugins, WeakPlugins};
pub use record::{PluginRecord, Quarantine};
pub use registry::{Examined, LivePlugin, ManageError, Pending, PluginView, Trial};
pub use signature::{KeyPair, SigningKey, TrustedKey, signer, trusted_in};
pub use state::{MOST_SAVED, Saved};
pub use stats::{CALL_SECONDS, CallTimes, PluginStats};
