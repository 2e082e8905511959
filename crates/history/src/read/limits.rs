//! Limits of the readers.

use std::time::Duration;

/// Limits of the readers of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchLimits {
    /// Number of connections.
    pub connections: u32,
    /// Time to wait for a connection.
    pub acquire_timeout: Duration,
    /// Time that a query may take. None for no limit.
    pub deadline: Option<Duration>,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            connections: 3,
            acquire_timeout: Duration::from_secs(5),
            deadline: Some(Duration::from_secs(5)),
        }
    }
}

impl SearchLimits {
    /// Limits of the acting part. Its queries are short.
    pub(super) const ACTING: Self = Self {
        connections: 4,
        acquire_timeout: Duration::from_secs(5),
        deadline: None,
    };
}
