//! Limits the rate of a guest's log messages.

use std::time::{Duration, Instant};

/// Maximum number of messages that one instance may write per `WINDOW`.
const MESSAGES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Rate limit on the log messages of one instance.
#[derive(Debug)]
pub struct LogGate {
    since: Instant,
    written: u32,
    suppressed: u64,
}

impl Default for LogGate {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            written: 0,
            suppressed: 0,
        }
    }
}

impl LogGate {
    /// Returns the number of messages that were suppressed before this message. Returns None if
    /// this message is suppressed too.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.written = 0;
        }
        if self.written < MESSAGES {
            self.written += 1;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_is_held_back_and_counted() {
        let mut gate = LogGate::default();
        let start = gate.since;
        let passed = (0..1000).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, MESSAGES as usize);
        assert_eq!(gate.pass(start + WINDOW), Some(1000 - u64::from(MESSAGES)));
    }
}
