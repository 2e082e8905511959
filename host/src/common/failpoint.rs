//! Named points at which a test has the process killed, as `kill -9` does: at every step that is
//! durable, before it and after it. There are none in a release build.

/// Which point, as `after:operation_asked`, and at which time that it is reached, as `:2`; by
/// default the first.
#[cfg(debug_assertions)]
const VARIABLE: &str = "ANOMALYZER_TEST_CRASH_AT";

/// Ends the process here if a test said so.
#[cfg(debug_assertions)]
pub fn fail_point(when: &str, step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var(VARIABLE).ok()?;
        let mut parts = value.splitn(3, ':');
        let point = format!("{}:{}", parts.next()?, parts.next()?);
        Some((
            point,
            parts.next().and_then(|time| time.parse().ok()).unwrap_or(1),
        ))
    });
    let Some((point, time)) = wanted else { return };
    if *point == format!("{when}:{step}") && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *time {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Until it is: not one step further.
        loop {
            std::thread::park();
        }
    }
}

/// Ends the process here if a test said so.
#[cfg(not(debug_assertions))]
pub fn fail_point(_: &str, _: &str) {}
