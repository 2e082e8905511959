//! Defines the errors of plugins. Their messages tell a person what to do.

use std::path::PathBuf;
use std::time::Duration;

use super::bindings::types;
use super::limits::LimitReached;
use super::text::one_line;
use super::thread_time::Starved;

/// Error of a plugin.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// The plugin folder can't be read.
    #[error("cannot read the plugin folder {folder}: {reason}; build the plugins with `cargo xtask plugins`", folder = .folder.display())]
    Folder {
        /// Path of the folder.
        folder: PathBuf,
        /// Reason for the error.
        reason: String,
    },
    /// The runtime can't be set up, most often because of its cache folder.
    #[error("cannot set up the WebAssembly runtime: {0}")]
    Runtime(String),
    /// A file is not a plugin that this host accepts. Nothing of it runs.
    #[error("{file} is not a usable plugin: {reason}")]
    Unusable {
        /// Name of the file.
        file: String,
        /// Reason for the error.
        reason: String,
    },
    /// No plugin of that name is loaded.
    #[error("there is no {kind} `{name}` in {folder}; build the plugins with `cargo xtask plugins`, or put its .wasm there", folder = .folder.display())]
    NotFound {
        /// `detector` or `action`.
        kind: &'static str,
        /// Name of the plugin.
        name: String,
        /// Folder that was searched.
        folder: PathBuf,
    },
    /// The guest trapped. Its instance, with all its memory, is gone.
    #[error("plugin `{plugin}` trapped in `{call}`: {reason}")]
    Trap {
        /// Name of the plugin.
        plugin: String,
        /// Name of the call.
        call: &'static str,
        /// Error of the runtime, and the guest's last words.
        reason: String,
    },
    /// The guest took too long and was stopped. Its instance is gone.
    #[error("plugin `{plugin}` did not return from `{call}` within {limit:?}")]
    Deadline {
        /// Name of the plugin.
        plugin: String,
        /// Name of the call.
        call: &'static str,
        /// Deadline of the call.
        limit: Duration,
    },
    /// The machine gave the guest too little processor time. Its instance is gone, and the guest is
    /// not to blame.
    #[error(
        "plugin `{plugin}` did not return from `{call}` within {limit:?}: the machine is overloaded, and it got {used:?} in {waited:?}"
    )]
    Starved {
        /// Name of the plugin.
        plugin: String,
        /// Name of the call.
        call: &'static str,
        /// Deadline of the call.
        limit: Duration,
        /// Processor time of the call.
        used: Duration,
        /// Time since its beginning.
        waited: Duration,
    },
    /// The guest asked for more than its limit. Its instance is gone.
    #[error(
        "plugin `{plugin}` reached a limit in `{call}`: {what} is limited to {limit}, {current} are in use, {requested} were asked for"
    )]
    Limit {
        /// Name of the plugin.
        plugin: String,
        /// Name of the call.
        call: &'static str,
        /// Name of the limit.
        what: &'static str,
        /// Value of the limit.
        limit: u64,
        /// Amount in use before the request.
        current: u64,
        /// Amount in use if the request had been granted.
        requested: u64,
    },
    /// The guest returned something that the contract forbids. Its instance is gone.
    #[error("plugin `{plugin}` broke the contract in `{call}`: {reason}")]
    Contract {
        /// Name of the plugin.
        plugin: String,
        /// Name of the call.
        call: &'static str,
        /// Description of the violation.
        reason: String,
    },
    /// The settings or parameters are wrong, in the guest's words. The message is shown to their
    /// author, and the call is never retried.
    #[error("{0}")]
    Invalid(String),
    /// The plugin does not support the request, in the guest's words.
    #[error("{0}")]
    Unsupported(String),
    /// The call failed inside the guest, in the guest's words. The instance stays usable.
    #[error("{0}")]
    Failed(String),
    /// An earlier call lost the instance. Open it again, then feed it the past.
    #[error("the instance of plugin `{0}` was lost")]
    Lost(String),
    /// The instance was lost, and it is too early to open it again.
    #[error("plugin `{plugin}` is opened again in {retry_in:?} at the earliest: {reason}")]
    BackingOff {
        /// Name of the plugin.
        plugin: String,
        /// Time to wait.
        retry_in: Duration,
        /// Reason why the instance was lost.
        reason: String,
    },
    /// The instance was lost too often in a row and is not opened again.
    #[error("plugin `{plugin}` is quarantined after {faults} faults in a row, the last: {reason}")]
    Quarantined {
        /// Name of the plugin.
        plugin: String,
        /// Number of faults in a row.
        faults: u32,
        /// Last fault.
        reason: String,
    },
    /// The plugin faulted for several signals, or in several runs. No instance of it is opened any
    /// more.
    #[error(
        "plugin `{plugin}` is quarantined as a whole: {reason}; lift it with `anomalyzer plugins lift {plugin}`"
    )]
    PluginQuarantined {
        /// Name of the plugin.
        plugin: String,
        /// Reason for the quarantine.
        reason: String,
    },
    /// The host tried to hand over something that the contract forbids.
    #[error("not handed to plugin `{plugin}`: {reason}")]
    Input {
        /// Name of the plugin.
        plugin: String,
        /// Description of the violation.
        reason: String,
    },
    /// The bounded queue of the thread stayed full.
    #[error("the queue of the plugins' threads stayed full for {waited:?}")]
    Overloaded {
        /// Time without a free place in the queue.
        waited: Duration,
    },
    /// The thread of the plugin is gone.
    #[error("the thread of plugin `{0}` is gone")]
    Closed(String),
}

impl PluginError {
    /// Returns true if the guest caused the error and lost its instance by it.
    pub(super) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Trap { .. } | Self::Deadline { .. } | Self::Limit { .. } | Self::Contract { .. }
        )
    }

    /// Returns true if the instance, with its memory, is gone. It must be opened again before its
    /// next use.
    pub fn lost_instance(&self) -> bool {
        self.is_fault() || self.is_starvation() || matches!(self, Self::Lost(_))
    }

    /// Returns true if the instance is gone because the machine was overloaded.
    pub fn is_starvation(&self) -> bool {
        matches!(self, Self::Starved { .. })
    }

    /// Returns true if the call took too long, so that the machine may be the cause.
    pub(super) fn is_overrun(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Starved { .. })
    }

    /// Returns true if the instance is not opened again until someone lifts the quarantine or
    /// another version goes live.
    pub fn is_quarantine(&self) -> bool {
        matches!(
            self,
            Self::Quarantined { .. } | Self::PluginQuarantined { .. }
        )
    }

    /// Converts an error that the guest returned.
    pub(super) fn from_guest(error: types::Error) -> Self {
        const MAX: usize = 1024;
        match error {
            types::Error::Invalid(text) => Self::Invalid(one_line(&text, MAX)),
            types::Error::Unsupported(text) => Self::Unsupported(one_line(&text, MAX)),
            types::Error::Failed(text) => Self::Failed(one_line(&text, MAX)),
        }
    }

    /// Converts an error of the runtime: a trap, a deadline, a limit, or values that can't be read.
    pub(super) fn from_runtime(
        plugin: &str,
        call: &'static str,
        deadline: Duration,
        last_error: Option<&str>,
        refused: Option<LimitReached>,
        error: &wasmtime::Error,
    ) -> Self {
        let plugin = plugin.to_owned();
        if error.downcast_ref() == Some(&wasmtime::Trap::Interrupt) {
            return Self::Deadline {
                plugin,
                call,
                limit: deadline,
            };
        }
        if let Some(Starved { used, waited }) = error.downcast_ref().copied() {
            return Self::Starved {
                plugin,
                call,
                limit: deadline,
                used,
                waited,
            };
        }
        // Most guests end themselves when they get no memory. The reason is then the limit, and not
        // the way in which the guest ended.
        if let Some(LimitReached {
            what,
            limit,
            current,
            requested,
        }) = error.downcast_ref().copied().or(refused)
        {
            return Self::Limit {
                plugin,
                call,
                what,
                limit,
                current,
                requested,
            };
        }
        let mut reason = one_line(&error.root_cause().to_string(), 512);
        if let Some(message) = last_error {
            reason = format!("{reason} (its last words: {message})");
        }
        Self::Trap {
            plugin,
            call,
            reason,
        }
    }
}
