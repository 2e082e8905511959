//! What a thread works with, and how it is relieved. A call that takes long must not hold up the
//! others that share its thread: after a short while the rest of the desk is handed to a new
//! thread, and the call goes on alone, with less priority, and with none if its guest is suspect.
//! When it returns, its instance is laid back on the desk and its thread ends.

use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
};
use thread_priority::{ThreadPriority, thread_native_id};
use tokio::sync::mpsc;

use super::watch::Watch;
use super::worker::{Call, Instances, Job};

/// How long a call may hold up the others; the grain of deadlines comes on top.
pub(super) const SLICE: Duration = Duration::from_millis(1);
/// Calls of one queue that may go on alone at a time. One more holds up the others until it ends.
const MOST_ALONE: usize = 8;
/// Calls that may wait for an instance that is away.
const MOST_WAITING: usize = 64;
/// Of a thread: half a megabyte is the guest's at most, the rest is ours.
const STACK_BYTES: usize = 4 << 20;
/// How much less important a call is that takes long: as much as can be. Where nobody else wants
/// the processor it is as fast as ever; where guests spin until their deadline, the others keep
/// their pace.
const NICER: i32 = 19;

thread_local! {
    /// The desk of this thread, while it is inside a guest.
    static RELIEVABLE: RefCell<Option<Relievable>> = const { RefCell::new(None) };
    /// Whether this thread was relieved, and ends with its call.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

struct Relievable {
    desk: Desk,
    lease: u64,
    /// Whether the last call of this instance ended with a fault.
    suspect: bool,
}

/// Hands the desk of this thread to a new one, if it is not yet and may be. Called from inside a
/// guest that takes long.
pub(super) fn relieve() {
    let Some(Relievable {
        mut desk,
        lease,
        suspect,
    }) = RELIEVABLE.take()
    else {
        return;
    };
    if desk.shared.alone.fetch_add(1, Ordering::Relaxed) >= MOST_ALONE {
        desk.shared.alone.fetch_sub(1, Ordering::Relaxed);
        RELIEVABLE.set(Some(Relievable {
            desk,
            lease,
            suspect,
        }));
        return;
    }
    desk.away.insert(lease, VecDeque::new());
    desk.slow.insert(lease);
    let shared = Arc::clone(&desk.shared);
    match desk.start() {
        // Not more important than before if it is refused.
        Ok(()) => {
            let _ = rustix::process::nice(NICER);
            ALONE.set(true);
            if suspect {
                stand_back();
            }
        }
        Err(left) => {
            let (mut desk, error) = *left;
            tracing::warn!(%error, "no thread to relieve one whose guest takes long");
            shared.alone.fetch_sub(1, Ordering::Relaxed);
            desk.away.remove(&lease);
            RELIEVABLE.set(Some(Relievable {
                desk,
                lease,
                suspect,
            }));
        }
    }
}

/// From now on the call that goes on alone on this thread, if one does, runs only where nobody else
/// wants the processor, and whoever wants it has it at once. A nice thread still has its whole turn
/// of milliseconds. Not for guests that are merely slow: on a busy machine they would miss their
/// deadline.
pub(super) fn stand_back() {
    if ALONE.get() {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        // It stays nice if it is refused. That it can't be made less nice afterwards is an error,
        // too.
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    }
}

/// What whoever holds the desk shares with the threads that were relieved and with the leases.
pub(super) struct Shared {
    index: usize,
    jobs: mpsc::WeakSender<Call>,
    /// Leases that ended. No longer than there are instances.
    left: Mutex<Vec<u64>>,
    /// Instances that come back from calls that went on alone, and whether those were slow.
    back: Mutex<Vec<(u64, Instances, bool)>>,
    alone: AtomicUsize,
}

impl Shared {
    pub(super) fn new(index: usize, jobs: mpsc::WeakSender<Call>) -> Self {
        Self {
            index,
            jobs,
            left: Mutex::default(),
            back: Mutex::default(),
            alone: AtomicUsize::new(0),
        }
    }

    /// The lease has ended.
    pub(super) fn leave(&self, lease: u64) {
        self.left.lock().push(lease);
        self.nudge(lease);
    }

    fn come_back(&self, lease: u64, instances: Instances, slow: bool) {
        self.back.lock().push((lease, instances, slow));
        self.alone.fetch_sub(1, Ordering::Relaxed);
        self.nudge(lease);
    }

    /// So that an idle thread looks; a busy one looks before its next call anyway.
    fn nudge(&self, lease: u64) {
        if let Some(jobs) = self.jobs.upgrade() {
            let _ = jobs.try_send(Call {
                lease,
                job: Box::new(|_| ()),
            });
        }
    }
}

/// A queue and all that it leads to, in the hands of one thread.
pub(super) struct Desk {
    instances: Instances,
    queued: mpsc::Receiver<Call>,
    /// Calls that waited for an instance that is back. They come before the queue.
    ready: VecDeque<Call>,
    /// Instances that are being called by a thread that was relieved, and the calls that wait for
    /// them.
    away: HashMap<u64, VecDeque<Job>>,
    /// Instances whose last call took long: the next begins alone.
    slow: HashSet<u64>,
    shared: Arc<Shared>,
}

impl Desk {
    pub(super) fn new(queued: mpsc::Receiver<Call>, shared: Arc<Shared>) -> Self {
        Self {
            instances: Instances::default(),
            queued,
            ready: VecDeque::new(),
            away: HashMap::new(),
            slow: HashSet::new(),
            shared,
        }
    }

    /// Gives it to a new thread, which works until nobody can call any more.
    pub(super) fn start(self) -> Result<(), Box<(Self, io::Error)>> {
        let name = format!("plugin-{}", self.shared.index);
        // What a closure holds is lost with it when no thread comes about.
        let place = Arc::new(Mutex::new(Some(self)));
        let at = Arc::clone(&place);
        let take = |place: &Mutex<Option<Self>>| place.lock().take();
        let started = thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Some(desk) = take(&at) {
                    desk.work();
                }
            });
        match started {
            Ok(_) => Ok(()),
            Err(error) => take(&place).map_or(Ok(()), |desk| Err(Box::new((desk, error)))),
        }
    }

    fn work(mut self) {
        while let Some(call) = self.next() {
            match self.run(call) {
                Some(desk) => self = desk,
                None => return,
            }
        }
    }

    fn next(&mut self) -> Option<Call> {
        loop {
            self.look_around();
            if let Some(call) = self.ready.pop_front() {
                return Some(call);
            }
            let call = self.queued.blocking_recv()?;
            // What came back meanwhile goes first.
            self.look_around();
            self.ready.push_back(call);
        }
    }

    /// Takes back instances that were away, and lets go of those whose lease has ended.
    fn look_around(&mut self) {
        let shared = Arc::clone(&self.shared);
        // Not waited for: who stands back may hold it and not run for a while. It nudges when it
        // has let go.
        let back = match shared.back.try_lock() {
            Some(mut back) => std::mem::take(&mut *back),
            None => Vec::new(),
        };
        for (lease, instances, slow) in back {
            // If nobody waits for it, its lease has ended.
            let Some(waiting) = self.away.remove(&lease) else {
                continue;
            };
            if !slow {
                self.slow.remove(&lease);
            }
            self.instances.put(instances);
            self.ready
                .extend(waiting.into_iter().map(|job| Call { lease, job }));
        }
        for lease in std::mem::take(&mut *shared.left.lock()) {
            drop(self.instances.take(lease));
            self.away.remove(&lease);
            self.slow.remove(&lease);
        }
    }

    /// Makes a call. None if the desk was handed on meanwhile: then there is nothing more to do for
    /// this thread.
    fn run(mut self, Call { lease, job }: Call) -> Option<Self> {
        if let Some(waiting) = self.away.get_mut(&lease) {
            if waiting.len() < MOST_WAITING {
                waiting.push_back(job);
            } else {
                job(None);
            }
            return Some(self);
        }
        let mut own = self.instances.take(lease);
        let (shared, was_slow) = (Arc::clone(&self.shared), self.slow.contains(&lease));
        let suspect = own.watches.values().any(Watch::has_faulted);
        RELIEVABLE.set(Some(Relievable {
            desk: self,
            lease,
            suspect,
        }));
        if was_slow {
            relieve();
        }
        let begun = Instant::now();
        // A panic here is a defect of ours or of the runtime; the others are untouched.
        if catch_unwind(AssertUnwindSafe(|| job(Some(&mut own)))).is_err() {
            tracing::error!("a call into a plugin panicked in the host");
        }
        match RELIEVABLE.take() {
            Some(Relievable { mut desk, .. }) => {
                desk.instances.put(own);
                if begun.elapsed() < SLICE {
                    desk.slow.remove(&lease);
                }
                Some(desk)
            }
            None => {
                shared.come_back(lease, own, begun.elapsed() >= SLICE);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheduling policy of this thread, see proc_pid_stat(5).
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // After the name in parentheses comes the third field; the policy is the 41st.
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
                ALONE.set(alone);
                stand_back();
                policy()
            });
            thread.join().unwrap()
        };
        assert_eq!(
            stood_back(false),
            SCHED_OTHER,
            "the desk's own thread serves the others"
        );
        assert_eq!(stood_back(true), SCHED_IDLE);
    }
}
