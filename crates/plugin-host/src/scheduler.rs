//! Schedules the calls of one thread, and detaches slow calls. A slow call must not hold up the
//! other calls of its thread. After a short while the run queue is handed to a new thread, and the
//! call continues detached, at lower priority. If its guest is suspect, it continues at idle
//! priority. When the call returns, its instance goes back to the run queue and its thread ends.

use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{io, thread};

use tokio::sync::mpsc;

use super::call::{Call, Instances, Job};
use super::detach::{self, SLICE};
use super::supervised::SupervisedDetector;

/// Maximum number of detached calls of one queue at a time. One more slow call holds up the others
/// until it ends.
const MAX_DETACHED: usize = 8;
/// Maximum number of calls that wait for a detached instance.
const MAX_WAITING: usize = 64;
/// Stack size of a thread. At most half a megabyte is for the guest, and the rest is for the host.
const STACK_BYTES: usize = 4 << 20;
/// Niceness of a detached call: the lowest priority that there is. On an idle processor, the call
/// is as fast as before. If guests spin until their deadline, the other calls keep their pace.
const NICER: i32 = 19;

thread_local! {
    /// Run queue of this thread, while the thread is inside a guest.
    static RELIEVABLE: RefCell<Option<Relievable>> = const { RefCell::new(None) };
}

struct Relievable {
    queue: RunQueue,
    lease: u64,
    /// True if the last call of this instance ended with a fault.
    suspect: bool,
}

/// Hands the run queue of this thread to a new thread, and so detaches the current call. Does
/// nothing if the call is detached already, or if too many calls are.
fn detach_call() {
    let Some(Relievable {
        mut queue,
        lease,
        suspect,
    }) = RELIEVABLE.take()
    else {
        return;
    };
    if queue
        .shared
        .detached_threads
        .fetch_add(1, Ordering::Relaxed)
        >= MAX_DETACHED
    {
        queue
            .shared
            .detached_threads
            .fetch_sub(1, Ordering::Relaxed);
        RELIEVABLE.set(Some(Relievable {
            queue,
            lease,
            suspect,
        }));
        return;
    }
    queue.detached.insert(lease, VecDeque::new());
    queue.slow.insert(lease);
    let shared = Arc::clone(&queue.shared);
    match queue.start() {
        // If the kernel refuses the niceness, the thread keeps its priority.
        Ok(()) => {
            let _ = rustix::process::nice(NICER);
            detach::set_detached();
            if suspect {
                detach::stand_back();
            }
        }
        Err(left) => {
            let (mut queue, error) = *left;
            tracing::warn!(%error, "cannot start a thread to detach a slow plugin call");
            shared.detached_threads.fetch_sub(1, Ordering::Relaxed);
            queue.detached.remove(&lease);
            RELIEVABLE.set(Some(Relievable {
                queue,
                lease,
                suspect,
            }));
        }
    }
}

/// State that the run queue shares with the detached threads and with the leases.
pub(super) struct Shared {
    index: usize,
    jobs: mpsc::WeakSender<Call>,
    /// Leases that ended. Their number is at most the number of instances.
    ended: Mutex<Vec<u64>>,
    /// Instances that return from detached calls, with true if the call was slow.
    returned: Mutex<Vec<(u64, Instances, bool)>>,
    detached_threads: AtomicUsize,
}

impl Shared {
    pub(super) fn new(index: usize, jobs: mpsc::WeakSender<Call>) -> Self {
        Self {
            index,
            jobs,
            ended: Mutex::default(),
            returned: Mutex::default(),
            detached_threads: AtomicUsize::new(0),
        }
    }

    /// Records that a lease has ended.
    pub(super) fn end_lease(&self, lease: u64) {
        self.ended.lock().push(lease);
        self.wake(lease);
    }

    fn give_back(&self, lease: u64, instances: Instances, slow: bool) {
        self.returned.lock().push((lease, instances, slow));
        self.detached_threads.fetch_sub(1, Ordering::Relaxed);
        self.wake(lease);
    }

    /// Wakes an idle thread, so that it looks at the shared state. A busy thread looks before its
    /// next call anyway.
    fn wake(&self, lease: u64) {
        if let Some(jobs) = self.jobs.upgrade() {
            let _ = jobs.try_send(Call {
                lease,
                job: Box::new(|_| ()),
            });
        }
    }
}

/// Run queue of one thread, with the instances and the waiting calls. A thread that detaches its
/// call hands all of this to a new thread.
pub(super) struct RunQueue {
    instances: Instances,
    queued: mpsc::Receiver<Call>,
    /// Calls that waited for an instance that has returned. They come before the queue.
    ready: VecDeque<Call>,
    /// Instances in a detached call, and the calls that wait for them.
    detached: HashMap<u64, VecDeque<Job>>,
    /// Instances whose last call was slow. Their next call starts detached.
    slow: HashSet<u64>,
    shared: Arc<Shared>,
}

impl RunQueue {
    pub(super) fn new(queued: mpsc::Receiver<Call>, shared: Arc<Shared>) -> Self {
        Self {
            instances: Instances::default(),
            queued,
            ready: VecDeque::new(),
            detached: HashMap::new(),
            slow: HashSet::new(),
            shared,
        }
    }

    /// Hands the run queue to a new thread, which works until nobody can call any more.
    pub(super) fn start(self) -> Result<(), Box<(Self, io::Error)>> {
        let name = format!("plugin-{}", self.shared.index);
        // If no thread starts, the contents of the closure are lost. So the closure holds only a
        // shared place.
        let place = Arc::new(Mutex::new(Some(self)));
        let at = Arc::clone(&place);
        let take = |place: &Mutex<Option<Self>>| place.lock().take();
        let started = thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Some(queue) = take(&at) {
                    queue.work();
                }
            });
        match started {
            Ok(_) => Ok(()),
            Err(error) => take(&place).map_or(Ok(()), |queue| Err(Box::new((queue, error)))),
        }
    }

    fn work(mut self) {
        detach::on_slow_call(detach_call);
        while let Some(call) = self.next() {
            match self.run(call) {
                Some(queue) => self = queue,
                None => return,
            }
        }
    }

    fn next(&mut self) -> Option<Call> {
        loop {
            self.take_returned();
            if let Some(call) = self.ready.pop_front() {
                return Some(call);
            }
            let call = self.queued.blocking_recv()?;
            // Calls that waited for a returned instance go first.
            self.take_returned();
            self.ready.push_back(call);
        }
    }

    /// Takes back instances from detached calls, and drops the instances whose lease has ended.
    fn take_returned(&mut self) {
        let shared = Arc::clone(&self.shared);
        // Don't wait for the lock: a thread at idle priority may hold it and not run for a while.
        // That thread wakes it after it has released the lock.
        let back = match shared.returned.try_lock() {
            Some(mut back) => std::mem::take(&mut *back),
            None => Vec::new(),
        };
        for (lease, instances, slow) in back {
            // If the instance has no list of waiting calls, its lease has ended.
            let Some(waiting) = self.detached.remove(&lease) else {
                continue;
            };
            if !slow {
                self.slow.remove(&lease);
            }
            self.instances.put(instances);
            self.ready
                .extend(waiting.into_iter().map(|job| Call { lease, job }));
        }
        for lease in std::mem::take(&mut *shared.ended.lock()) {
            drop(self.instances.take(lease));
            self.detached.remove(&lease);
            self.slow.remove(&lease);
        }
    }

    /// Makes a call. Returns None if the run queue was handed on meanwhile. This thread then has
    /// nothing more to do.
    fn run(mut self, Call { lease, job }: Call) -> Option<Self> {
        if let Some(waiting) = self.detached.get_mut(&lease) {
            if waiting.len() < MAX_WAITING {
                waiting.push_back(job);
            } else {
                job(None);
            }
            return Some(self);
        }
        let mut own = self.instances.take(lease);
        let (shared, was_slow) = (Arc::clone(&self.shared), self.slow.contains(&lease));
        let suspect = own.watches.values().any(SupervisedDetector::has_faulted);
        RELIEVABLE.set(Some(Relievable {
            queue: self,
            lease,
            suspect,
        }));
        if was_slow {
            detach_call();
        }
        let begun = Instant::now();
        // A panic here is a defect of the host or of the runtime. It does not affect the other
        // instances.
        if catch_unwind(AssertUnwindSafe(|| job(Some(&mut own)))).is_err() {
            tracing::error!("plugin call panicked in the host");
        }
        match RELIEVABLE.take() {
            Some(Relievable { mut queue, .. }) => {
                queue.instances.put(own);
                if begun.elapsed() < SLICE {
                    queue.slow.remove(&lease);
                }
                Some(queue)
            }
            None => {
                shared.give_back(lease, own, begun.elapsed() >= SLICE);
                None
            }
        }
    }
}
