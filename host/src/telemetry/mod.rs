//! What the host says about itself.

pub mod log;
pub mod metrics;
