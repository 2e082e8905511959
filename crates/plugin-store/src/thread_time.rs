//! Processor time of the present thread, and the error of a call that got too little of it.

use std::time::Duration;

/// Error of a call that got too little processor time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{used:?} of processor time in {waited:?}")]
pub struct Starved {
    /// Processor time that the call got.
    pub used: Duration,
    /// Time that passed.
    pub waited: Duration,
}

/// Returns the processor time that this thread has used, from `schedstat` of proc(5). Returns None
/// if the kernel keeps no such statistics.
pub fn used() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn only_the_time_on_a_processor_counts() {
        let before = used().unwrap();
        std::thread::park_timeout(Duration::from_millis(200));
        let parked = used().unwrap();
        assert!(parked - before < Duration::from_millis(150), "{parked:?}");
        let deadline = Instant::now() + Duration::from_secs(60);
        while used().unwrap() < parked + Duration::from_millis(20) {
            assert!(Instant::now() < deadline, "the loop above used no time");
        }
    }
}
