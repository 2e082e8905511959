//! The surroundings of a detector: the signal that it watches, and the services that it uses.

use super::series::SeriesTable;
use super::state_store::StateStore;
use anomalyzer_domain::{DetectorConfig, Meaning};
use anomalyzer_plugin_host::Plugins;

/// The services that detectors are opened and restored with.
pub(super) struct DetectContext {
    pub(super) plugins: Plugins,
    /// The detectors of signals that are not configured. They also replace quarantined detectors.
    pub(super) fallback: Vec<DetectorConfig>,
    /// The saved state of detectors, if it is saved.
    pub(super) store: Option<StateStore>,
}

/// A signal as its detectors see it.
#[derive(Clone, Copy)]
pub(super) struct SignalView<'a> {
    pub(super) signal: &'a str,
    pub(super) meaning: Meaning,
    pub(super) table: &'a SeriesTable,
}
