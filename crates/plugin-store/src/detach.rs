//! Lets a slow call leave its thread. The code inside a call notices that the call is slow, and the
//! scheduler above it detaches the call.

use std::cell::Cell;
use std::time::Duration;

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};
/// Maximum time that a call holds up the others. The resolution of deadlines comes on top.
pub const SLICE: Duration = Duration::from_millis(1);
thread_local! {
    /// Function that detaches the current call of this thread, on the threads of the scheduler.
    static DETACH: Cell<Option<fn()>> = const { Cell::new(None) };
    /// True if this thread has handed on its run queue and ends with its call.
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// Sets the function that detaches the current call of this thread. It must do nothing while there
/// is no call to detach.
pub fn on_slow_call(detach: fn()) {
    DETACH.set(Some(detach));
}

/// Records that the current call of this thread is detached.
pub fn set_detached() {
    DETACHED.set(true);
}

/// Detaches the current call, if the scheduler runs it. A guest that takes long triggers it from
/// inside.
pub fn relieve() {
    if let Some(detach) = DETACH.get() {
        detach();
    }
}

/// Lowers the priority of a detached call on this thread to idle. From now on it runs only while no
/// other thread wants the processor, and it yields to every other thread at once. A nice thread, in
/// contrast, still has its whole turn of milliseconds. Does nothing on a thread without a detached
/// call. It is not for guests that are merely slow: on a busy machine they would miss their
/// deadline.
pub fn stand_back() {
    if DETACHED.get() {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        // If the kernel refuses the policy, the thread keeps its niceness. The call also returns an
        // error if it can't lower the niceness afterwards.
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Returns the scheduling policy of this thread, see proc_pid_stat(5).
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The third field comes after the name in parentheses, and the policy is the 41st field.
        stat.rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .nth(41 - 3)
            .unwrap()
            .to_owned()
    }

    #[test]
    fn only_a_thread_that_was_relieved_stands_back() {
        const SCHED_OTHER: &str = "0";
        const SCHED_IDLE: &str = "5";
        let stood_back = |alone| {
            let thread = thread::spawn(move || {
                DETACHED.set(alone);
                stand_back();
                policy()
            });
            thread.join().unwrap()
        };
        assert_eq!(
            stood_back(false),
            SCHED_OTHER,
            "the queue's own thread serves the others"
        );
        assert_eq!(stood_back(true), SCHED_IDLE);
    }
}
