//! Checks whether a SQLite file that could not grow can grow again. Without the probe, `/health`
//! would report the recovery only at the next write, which may be hours away.

use std::time::Duration;

/// Time between two probes while a file cannot be written.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Statements that grow the file by 64 KiB and free the pages again. The next records use the free
/// pages.
pub const PROBE_STATEMENTS: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS room (filled BLOB NOT NULL) STRICT",
    "INSERT INTO room VALUES (randomblob(65536))",
    "DELETE FROM room",
];
