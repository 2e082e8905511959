//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use anomalyzer_domain::{UnixMs, millis};

/// Returns the time of the wall clock. A clock before 1970 reads as 0.
pub fn now_ms() -> UnixMs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}
