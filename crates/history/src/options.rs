//! Limits of a history.

use std::time::Duration;

/// Limits of a history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryOptions {
    /// Maximum number of records that wait for the writer.
    pub queue: usize,
    /// Maximum time that `record` waits for room in the queue, and then again for the disk.
    pub time_limit: Duration,
    /// Maximum size of the file in pages of 4 KiB. None means that the file may fill the disk.
    pub max_pages: Option<u32>,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            queue: 1024,
            time_limit: Duration::from_secs(30),
            max_pages: None,
        }
    }
}
