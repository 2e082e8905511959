//! What `wit/plugin.wit` says, as Rust, for one world each. Nothing outside this folder sees these
//! types.

/// Actions. Types are owned: nothing here is hot.
pub mod action {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "action-plugin",
    });
}

/// Detectors, with and without `state`: its world has all of the other's. Parameters are borrowed,
/// so that the columns of a frame are copied once, in bulk, from the host's vectors.
pub mod detector {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "stateful-detector-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "anomalyzer:plugin/log": super::log,
            "anomalyzer:plugin/types": super::types,
        },
    });
}

pub use action::anomalyzer::plugin::log;

/// Both worlds' common types.
pub mod types {
    pub use super::action::anomalyzer::plugin::types::*;

    /// `json` as a borrowed parameter: what the macro calls it in the world of detectors.
    pub type JsonParam<'a> = &'a str;
}
