//! Log messages to the operator. The host cuts long messages and limits their rate. Native tests
//! discard them.

use crate::bindings::detector::anomalyzer::plugin::log::Level;

/// Logs a message for people who debug the plugin.
pub fn debug(message: &str) {
    send(Level::Debug, message);
}

/// Logs a message that is worth knowing.
pub fn info(message: &str) {
    send(Level::Info, message);
}

/// Logs a message about a state that looks wrong.
pub fn warn(message: &str) {
    send(Level::Warn, message);
}

/// Logs a message about a state that is wrong.
pub fn error(message: &str) {
    send(Level::Error, message);
}

#[cfg(target_arch = "wasm32")]
fn send(level: Level, message: &str) {
    crate::bindings::detector::anomalyzer::plugin::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn send(_: Level, _: &str) {}
