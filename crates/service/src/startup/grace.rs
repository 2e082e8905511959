//! Time that the tasks have to end after the shutdown.

use std::time::Duration;

use crate::config::Config;

/// Time that the tasks have to end after the shutdown, besides the stop timeout of process groups.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(15);

/// Returns the time that the tasks have to end: [`SHUTDOWN_GRACE`], and the longest `stop_timeout`
/// of a process group.
pub(super) fn shutdown_grace(config: &Config) -> Duration {
    let groups = config.local.groups.values();
    let longest_stop = groups.map(|group| group.stop_timeout).max();
    SHUTDOWN_GRACE.saturating_add(longest_stop.unwrap_or_default())
}
