//! Bindings that `wit-bindgen` generates from `wit/plugin.wit`: one module per world. The first
//! module has the types that both worlds share.
#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]

pub mod detector {
    //! The world `stateful-detector-plugin`, which contains all of `detector-plugin`.
    wit_bindgen::generate!({
        path: "../../wit",
        world: "stateful-detector-plugin",
        pub_export_macro: true,
        export_macro_name: "export_stateful_detector_world",
        default_bindings_module: "anomalyzer_plugin_sdk::bindings::detector",
        additional_derives: [PartialEq],
    });
}

pub mod action {
    //! The world `action-plugin`.
    wit_bindgen::generate!({
        path: "../../wit",
        world: "action-plugin",
        pub_export_macro: true,
        export_macro_name: "export_action_world",
        default_bindings_module: "anomalyzer_plugin_sdk::bindings::action",
        additional_derives: [PartialEq],
        with: {
            "anomalyzer:plugin/types@0.1.0": crate::bindings::detector::anomalyzer::plugin::types,
            "anomalyzer:plugin/log@0.1.0": crate::bindings::detector::anomalyzer::plugin::log,
        },
    });
}
