//! Defines the calls that wait for a thread, and the instances that they are made into.

use std::collections::HashMap;

use super::action::Run;
use super::supervised::SupervisedDetector;

/// Work of a call. It gets None if there is no place to wait.
pub(super) type Job = Box<dyn FnOnce(Option<&mut Instances>) + Send>;

/// Call into one instance.
pub(super) struct Call {
    pub(super) lease: u64,
    pub(super) job: Job,
}

/// Instances, by lease.
#[derive(Default)]
pub(super) struct Instances {
    pub(super) watches: HashMap<u64, SupervisedDetector>,
    pub(super) runs: HashMap<u64, Run>,
}

impl Instances {
    /// Takes out the instances of one lease.
    pub(super) fn take(&mut self, lease: u64) -> Self {
        let watches = self.watches.remove_entry(&lease).into_iter().collect();
        let runs = self.runs.remove_entry(&lease).into_iter().collect();
        Self { watches, runs }
    }

    pub(super) fn put(&mut self, other: Self) {
        self.watches.extend(other.watches);
        self.runs.extend(other.runs);
    }
}
