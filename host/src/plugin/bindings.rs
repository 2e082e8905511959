//! Binds `wit/plugin.wit` to Rust types, in one module per world. Nothing outside this folder sees
//! these types.

/// Bindings of actions. Their types are owned, because nothing here is hot.
pub mod action {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "action-plugin",
    });
}

/// Bindings of detectors with and without `state`, because the world with `state` contains all of
/// the other world. Parameters are borrowed, so that the columns of a frame are copied once, in
/// bulk, from the host's vectors.
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

/// Types that both worlds have in common.
pub mod types {
    pub use super::action::anomalyzer::plugin::types::*;

    /// Borrowed parameter of type `json`, under the name that the macro uses in the world of
    /// detectors.
    pub type JsonParam<'a> = &'a str;
}
