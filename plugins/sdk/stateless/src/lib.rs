//! The world of a detector that saves nothing, for the SDK's `export_detector!`: of all that is
//! generated here only `export_detector_world!` is used, with the SDK's types. It stands in a crate
//! of its own because the macros that `wit-bindgen` makes of one interface have one name each in a
//! crate, whichever world they are made for.
#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "detector-plugin",
    pub_export_macro: true,
    export_macro_name: "export_detector_world",
    default_bindings_module: "anomalyzer_plugin_sdk::bindings::detector",
});
