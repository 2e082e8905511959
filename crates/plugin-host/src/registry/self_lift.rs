//! Lifts quarantines whose cause was time, after a quiet time. A machine without free processor
//! time may be their cause, and nobody would lift them after it has recovered.

use std::sync::Arc;

use super::Registry;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::{UnixMs, millis};

use crate::stats::MAX_QUIET;

/// Name of the host in the changes of plugins.
const HOST: &str = "host";

impl Registry {
    /// Lifts the quarantines whose quiet time is over. A fault after that doubles the next one.
    pub(crate) fn lift_overdue(&self) {
        let now = now_ms();
        let due: Vec<String> = self.read(|table| {
            let entries = table.entries.values();
            let is_due = |name: &str, lifts_at: Option<UnixMs>| {
                let in_record = lifts_at.is_some_and(|at| is_over(at, now));
                // Both are asked, because asking ends the quiet time.
                let stats = self.runtime.stats.by_name(name);
                stats.is_some_and(|stats| stats.is_quiet_time_over()) || in_record
            };
            entries
                .map(|entry| &entry.record)
                .filter(|record| {
                    let quarantine = record.quarantine.as_ref();
                    is_due(&record.name, quarantine.and_then(|it| it.lifts_at))
                })
                .map(|record| record.name.clone())
                .collect()
        });
        for name in due {
            let stats = self.runtime.stats.of(&Arc::from(name.as_str()));
            let retries = stats.retries();
            match self.lift(&name, HOST) {
                Ok(_) => tracing::warn!(plugin = name, "quarantine lifted after a quiet time"),
                Err(error) => {
                    tracing::error!(plugin = name, %error, "cannot lift a quarantine");
                }
            }
            // The next quiet time is longer, unless a person lifts the quarantine.
            stats.set_retries(retries + 1);
        }
    }
}

/// Returns true if a quarantine that lifts itself at `at` is over at `now`. A time that is too far
/// ahead comes from a clock that was wrong.
fn is_over(at: UnixMs, now: UnixMs) -> bool {
    at <= now || at > now.saturating_add(millis(MAX_QUIET))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_of_a_wrong_clock_does_not_last_for_years() {
        let quiet = millis(MAX_QUIET);
        for (at, over) in [(0, true), (1, false), (quiet, false), (quiet + 1, true)] {
            assert_eq!(is_over(at, 0), over, "{at}");
        }
        assert!(is_over(i64::MIN, i64::MAX) && is_over(i64::MAX, i64::MIN));
    }
}
