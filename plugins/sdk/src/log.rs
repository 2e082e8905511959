//! Messages to the operator, which the host cuts and limits in rate. In native tests they go
//! nowhere.

use crate::bindings::detector::anomalyzer::plugin::log::Level;

/// For whoever debugs the plugin.
pub fn debug(message: &str) {
    send(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    send(Level::Info, message);
}

/// Looks wrong.
pub fn warn(message: &str) {
    send(Level::Warn, message);
}

/// Is wrong.
pub fn error(message: &str) {
    send(Level::Error, message);
}

#[cfg(target_arch = "wasm32")]
fn send(level: Level, message: &str) {
    crate::bindings::detector::anomalyzer::plugin::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn send(_: Level, _: &str) {}
