//! Memory of each process group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Time between two measurements, short enough to stop a leak before it affects the machine.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

type Readings = Arc<HashMap<u32, u64>>;

/// Resident bytes by process group, measured for all containers at once.
#[derive(Debug, Clone)]
pub(super) struct Memory(watch::Receiver<Readings>);

impl Memory {
    /// Returns the readings, and the future that measures them.
    pub(super) fn new() -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = watch::channel(Readings::default());
        let measuring = async move {
            let mut ticks = tokio::time::interval(POLL_INTERVAL);
            loop {
                ticks.tick().await;
                // One receiver belongs to `Memory` itself. Without a second one, no run has a
                // limit, and nobody needs a measurement.
                if sender.receiver_count() <= 1 {
                    continue;
                }
                sender.send_replace(Arc::new(resident_by_group()));
            }
        };
        (Self(receiver), measuring)
    }

    /// Waits until the group holds more than `limit` bytes. Returns the number of bytes.
    pub(super) async fn exceeds(mut self, group: u32, limit: u64) -> u64 {
        let over = |readings: &Readings| {
            readings
                .get(&group)
                .is_some_and(|resident| *resident > limit)
        };
        let found = self
            .0
            .wait_for(over)
            .await
            .ok()
            .and_then(|readings| readings.get(&group).copied());
        match found {
            Some(resident) => resident,
            // Measuring has ended, because the kubelet is ending.
            None => std::future::pending().await,
        }
    }
}

/// Returns the resident bytes by process group. Pages that processes share count for each of them.
fn resident_by_group() -> HashMap<u32, u64> {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    let mut groups = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with(|first: char| first.is_ascii_digit())
        {
            continue;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((group, pages)) = group_and_pages(&stat) {
            *groups.entry(group).or_insert(0) += pages * page;
        }
    }
    groups
}

/// Returns fields 5 and 24 of `/proc/PID/stat`. Field 2, the name, may hold spaces and parentheses.
fn group_and_pages(stat: &str) -> Option<(u32, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(2);
    let group = fields.next()?.parse().ok()?;
    Some((group, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 42 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 100 4096000 321 18446744073709551615 1 1";
        assert_eq!(group_and_pages(stat), Some((42, 321)));
    }

    #[test]
    fn this_process_holds_memory() {
        let group = rustix::process::getpgrp()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        assert!(resident_by_group()[&group] > 100_000);
    }
}
