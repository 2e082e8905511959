//! The configuration: one file, parsed once and handed down to the parts.
//!
//! This module is above all parts. Each part checks its own settings (`validate`); `validate.rs`
//! checks that the parts fit together. No part reads the environment.

mod environment;
mod error;
mod folders;
mod load;
mod location;
mod rate_limit;
mod settings;
#[cfg(test)]
mod tests;
mod validate;

pub use environment::{Environment, overlay, process_variable};
pub use error::ConfigError;
pub use folders::{cache_folder, plugin_folder};
pub use load::{File, load, parse};
pub use rate_limit::RateLimitConfig;
pub use settings::Config;
