//! What can go wrong with a plugin, told so that a person can act on it.

use std::path::PathBuf;
use std::time::Duration;

use super::bindings::types;
use super::limits::LimitReached;
use super::text::one_line;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// The plugin folder can't be read.
    #[error("cannot read the plugin folder {folder}: {reason}; build the plugins with `cargo xtask plugins`", folder = .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// The runtime can't be set up, most often because of its cache folder.
    #[error("cannot set up the WebAssembly runtime: {0}")]
    Runtime(String),
    /// A file is not a plugin that this host takes: nothing of it runs.
    #[error("{file} is not a usable plugin: {reason}")]
    Unusable {
        /// Name of the file.
        file: String,
        /// Why.
        reason: String,
    },
    /// No plugin of that name is loaded.
    #[error("there is no {kind} `{name}` in {folder}; build the plugins with `cargo xtask plugins`, or put its .wasm there", folder = .folder.display())]
    NotFound {
        /// `detector` or `action`.
        kind: &'static str,
        /// Which.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The guest trapped. Its instance, with all its memory, is gone.
    #[error("plugin `{plugin}` trapped in `{call}`: {reason}")]
    Trap {
        /// Which.
        plugin: String,
        /// In which call.
        call: &'static str,
        /// What the runtime says and the guest's last words.
        reason: String,
    },
    /// The guest took too long and was stopped. Its instance is gone.
    #[error("plugin `{plugin}` did not return from `{call}` within {limit:?}")]
    Deadline {
        /// Which.
        plugin: String,
        /// In which call.
        call: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The guest wanted more than it may have. Its instance is gone.
    #[error(
        "plugin `{plugin}` reached a limit in `{call}`: {what} is limited to {limit}, {current} are in use, {requested} were asked for"
    )]
    Limit {
        /// Which.
        plugin: String,
        /// In which call.
        call: &'static str,
        /// Name of the limit.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// In use before.
        current: u64,
        /// In use had it been granted.
        requested: u64,
    },
    /// The guest returned what the contract forbids. Its instance is gone.
    #[error("plugin `{plugin}` broke the contract in `{call}`: {reason}")]
    Contract {
        /// Which.
        plugin: String,
        /// In which call.
        call: &'static str,
        /// How.
        reason: String,
    },
    /// The settings or parameters are wrong, in the guest's words: shown to whoever wrote them,
    /// never retried.
    #[error("{0}")]
    Invalid(String),
    /// The plugin doesn't do that, in the guest's words.
    #[error("{0}")]
    Unsupported(String),
    /// It went wrong inside, in the guest's words; the instance stays usable.
    #[error("{0}")]
    Failed(String),
    /// The instance was lost by an earlier call: open it again, then feed it the past.
    #[error("the instance of plugin `{0}` was lost")]
    Lost(String),
    /// The instance was lost, and it is too early to open it again.
    #[error("plugin `{plugin}` is opened again in {retry_in:?} at the earliest: {reason}")]
    BackingOff {
        /// Which.
        plugin: String,
        /// How long to wait.
        retry_in: Duration,
        /// Why it was lost.
        reason: String,
    },
    /// It was lost too often in a row: not opened again.
    #[error("plugin `{plugin}` is quarantined after {faults} faults in a row, the last: {reason}")]
    Quarantined {
        /// Which.
        plugin: String,
        /// How many.
        faults: u32,
        /// The last one.
        reason: String,
    },
    /// It faulted for several signals, or in several runs: nothing of it is opened any more.
    #[error(
        "plugin `{plugin}` is quarantined as a whole: {reason}; lift it with `anomalyzer plugins lift {plugin}`"
    )]
    GivenUp {
        /// Which.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// The host handed over something that the contract forbids.
    #[error("not handed to plugin `{plugin}`: {reason}")]
    Input {
        /// Which.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
    /// The bounded queue of the thread stayed full.
    #[error("the queue of the plugins' threads stayed full for {waited:?}")]
    Overloaded {
        /// How long there was no place.
        waited: Duration,
    },
    /// Its thread is gone.
    #[error("the thread of plugin `{0}` is gone")]
    Closed(String),
}

impl PluginError {
    /// Whether this was the guest's fault and cost it its instance.
    pub(super) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Trap { .. } | Self::Deadline { .. } | Self::Limit { .. } | Self::Contract { .. }
        )
    }

    /// Whether the instance, with its memory, is gone, so that it must be opened again before it is
    /// of use.
    pub fn lost_instance(&self) -> bool {
        self.is_fault() || matches!(self, Self::Lost(_))
    }

    /// Whether it is not opened again, until somebody lifts the quarantine or other bytes come.
    pub fn is_quarantine(&self) -> bool {
        matches!(self, Self::Quarantined { .. } | Self::GivenUp { .. })
    }

    /// What the guest itself called an error.
    pub(super) fn from_guest(error: types::Error) -> Self {
        const MAX: usize = 1024;
        match error {
            types::Error::Invalid(text) => Self::Invalid(one_line(&text, MAX)),
            types::Error::Unsupported(text) => Self::Unsupported(one_line(&text, MAX)),
            types::Error::Failed(text) => Self::Failed(one_line(&text, MAX)),
        }
    }

    /// What the runtime called an error: a trap, a deadline, a limit, or values that can't be read.
    pub(super) fn from_runtime(
        plugin: &str,
        call: &'static str,
        deadline: Duration,
        last_words: Option<&str>,
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
        // Most guests end themselves when they are given no memory: that is the reason, and not how
        // they do it.
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
        if let Some(words) = last_words {
            reason = format!("{reason} (its last words: {words})");
        }
        Self::Trap {
            plugin,
            call,
            reason,
        }
    }
}
