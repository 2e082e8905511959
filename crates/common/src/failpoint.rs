//! Fail points: named points at which a test kills the process, like `kill -9`. There is one before
//! and one after every durable step. A release build has none.

/// Environment variable that selects a point, for example `after:operation_asked`. A suffix such as
/// `:2` selects the second time that the point is reached. The default is the first time.
#[cfg(debug_assertions)]
const VARIABLE: &str = "ANOMALYZER_TEST_CRASH_AT";

/// Kills the process here if the test selected this point.
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
        // The signal may take effect later. The thread must not continue until then.
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn fail_point(_: &str, _: &str) {}
