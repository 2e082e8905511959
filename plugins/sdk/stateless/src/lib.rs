//! Bindings of the world of a detector that saves nothing, for the SDK's `export_detector!`. Only
//! the generated macro `export_detector_world!` is used, with the SDK's types. The bindings need a
//! crate of their own: `wit-bindgen` names the macros of an interface alike for every world, and a
//! crate can have only one macro of each name.
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
