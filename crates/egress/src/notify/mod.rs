//! Sends notices to people over the configured channels.
//!
//! Each channel has a queue of its own, so that a channel that hangs delays no other one, and
//! nothing that acts. A notice waits in its queue until the channel accepts or refuses it, or until
//! it is too old, also over restarts. Delivery is at least once, because a receiver may ignore the
//! `Idempotency-Key`.

mod about;
mod alarm_storm;
mod alerts;
mod answer;
mod body;
mod channel;
mod config;
mod delivery;
mod notifier;
mod outbox;
mod shared;

pub use about::About;
pub use alarm_storm::{Alarm, AlarmRoute, AlarmStorms, JOINED, SendNotice, Sending};
pub use channel::ChannelStatus;
pub use config::{ChannelConfig, ChannelKind, NotifyConfig};
pub use notifier::{Delivered, Notifier, NotifyError};
