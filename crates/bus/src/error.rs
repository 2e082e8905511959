//! Failures of a bus.

use anomalyzer_domain::Topic;

/// A failure of the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The broker is unreachable or refuses. The bus has already retried up to its time-out.
    #[error("{0}")]
    Unavailable(String),
    /// The message is larger than the limit of the topic.
    #[error("a message of {size} bytes is larger than the {limit} that {topic:?} takes")]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// Size in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// The bounded queue stayed full until the time-out. The producer must slow down.
    #[error("the queue of {0:?} stayed full")]
    Full(Topic),
    /// The local store failed, for example because the disk is full.
    #[error("cannot write to the local bus: {0}")]
    Store(String),
    /// Another server took over the log of record.
    #[error("another server writes the log of record now")]
    Fenced,
    /// The bus was shut down.
    #[error("the bus is closed")]
    Closed,
}
