//! Bounds the number of children that run at a time. A caller that waits for its turn can give up.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

/// Interval at which a waiting caller looks if it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// Queue with a number of places.
pub(super) struct Queue {
    free: Mutex<usize>,
    freed: Condvar,
}

/// Place in a queue, until it is dropped.
pub(super) struct Place<'q>(&'q Queue);

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            free: Mutex::new(capacity),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place. Returns None if the caller was cancelled first.
    pub(super) fn enter(&self, cancel: &CancellationToken) -> Option<Place<'_>> {
        let mut free = self.free.lock();
        loop {
            if cancel.is_cancelled() {
                return None;
            }
            if *free > 0 {
                *free -= 1;
                return Some(Place(self));
            }
            self.freed.wait_for(&mut free, CANCEL_CHECK);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_waits_for_a_place_unless_it_is_cancelled() {
        let queue = Queue::new(1);
        let (waiting, gone) = (CancellationToken::new(), CancellationToken::new());
        let place = queue.enter(&waiting).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.enter(&waiting).is_some());
            gone.cancel();
            assert!(queue.enter(&gone).is_none(), "it does not wait");
            drop(place);
            assert!(waiter.join().unwrap(), "it got the place");
        });
        assert!(queue.enter(&gone).is_none(), "it takes no place");
        assert!(queue.enter(&waiting).is_some());
    }
}
