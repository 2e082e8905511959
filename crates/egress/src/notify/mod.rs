//! Sends notices to people over the configured channels. Delivery is at least once, because a
//! receiver may ignore the `Idempotency-Key`.

mod about;
mod body;
mod config;
mod notifier;

pub use about::About;
pub use config::{ChannelConfig, ChannelKind, NotifyConfig};
pub use notifier::{Delivered, Notifier, NotifyError};
