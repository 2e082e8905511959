//! Finds the exports of a detector: `detector`, and `state` if the detector has it.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::detector::exports::anomalyzer::plugin::{detector, state};
use super::sandbox::State;

const STATE: &str = "anomalyzer:plugin/state@0.1.0";

/// Linked detector, with the indices of its exports.
pub(super) struct DetectorPre {
    pre: InstancePre<State>,
    detector: detector::GuestIndices,
    state: Option<state::GuestIndices>,
}

/// Exports of one instance.
pub(super) struct DetectorExports {
    pub(super) detector: detector::Guest,
    pub(super) state: Option<state::Guest>,
}

impl DetectorPre {
    /// Finds the exports. Returns an error that names a missing export.
    pub(super) fn new(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        let stateful = pre.component().get_export_index(None, STATE).is_some();
        let detector = detector::GuestIndices::new(&pre)?;
        let state = stateful
            .then(|| state::GuestIndices::new(&pre))
            .transpose()?;
        Ok(Self {
            pre,
            detector,
            state,
        })
    }

    /// Returns true if the detector exports `state`.
    pub(super) fn is_stateful(&self) -> bool {
        self.state.is_some()
    }

    /// Makes an instance, and checks the types of its exports.
    pub(super) fn instantiate(
        &self,
        store: &mut Store<State>,
    ) -> wasmtime::Result<DetectorExports> {
        let instance = self.pre.instantiate(&mut *store)?;
        let detector = self.detector.load(&mut *store, &instance)?;
        let state = self
            .state
            .as_ref()
            .map(|state| state.load(&mut *store, &instance))
            .transpose()?;
        Ok(DetectorExports { detector, state })
    }
}
