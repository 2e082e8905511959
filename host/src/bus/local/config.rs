//! How the local bus is set up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::duration;

/// Bounds of the local bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalBusConfig {
    /// How many writes may wait for the disk.
    pub queue_messages: usize,
    /// How many messages of metrics are held in memory until all groups have committed them.
    pub metrics_messages: usize,
    /// How many bytes of them.
    pub metrics_bytes: usize,
    /// The largest message, in bytes: key, headers and payload together.
    pub max_message_bytes: usize,
    /// How long a publisher waits for room before it is told that the queue is full.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// How long a message is kept after every group has committed it. What is on `decisions-topic`
    /// is kept for ever.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// How many bytes of dead letters are kept; the oldest go first.
    pub dead_letter_bytes: u64,
}

impl Default for LocalBusConfig {
    fn default() -> Self {
        Self {
            queue_messages: 1024,
            metrics_messages: 20_000,
            metrics_bytes: 64 << 20,
            max_message_bytes: 16 << 20,
            publish_timeout: Duration::from_secs(30),
            retention: Duration::from_secs(7 * 24 * 3600),
            dead_letter_bytes: 256 << 20,
        }
    }
}
