//! Configuration of the local bus.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use anomalyzer_domain::duration;

/// Limits of the local bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalBusConfig {
    /// Maximum number of writes that wait for the disk.
    pub queue_messages: usize,
    /// Maximum number of metrics messages in memory. A message is held until all groups have
    /// committed it.
    pub metrics_messages: usize,
    /// Maximum total size in bytes of the metrics messages in memory.
    pub metrics_bytes: usize,
    /// Maximum size of a message in bytes: key, headers and payload together.
    pub max_message_bytes: usize,
    /// Time that a publisher waits for room before it gets an error because the queue is full.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// Time that a message is kept after every group has committed it. Messages on
    /// `decisions-topic` are kept for ever.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// Maximum total size of the dead letters in bytes. The oldest are deleted first.
    pub dead_letter_bytes: u64,
    /// Maximum size of the file in bytes. Beyond it, publishers get an error until consumers
    /// commit.
    pub max_bytes: u64,
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
            max_bytes: 4 << 30,
        }
    }
}
