//! Sends notices to people over the configured channels. Delivery is at least once, because a
//! receiver may ignore the `Idempotency-Key`.

mod about;
mod alarm_storm;
mod body;
mod config;
mod notifier;

pub use about::About;
pub use alarm_storm::{Alarm, AlarmStorms, SendNotice, Sending};
pub use config::{ChannelConfig, ChannelKind, NotifyConfig};
pub use notifier::{Delivered, Notifier, NotifyError};
