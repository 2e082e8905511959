//! What one instance may take of memory, tables and instances, and all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::desk;
use super::stats::Stats;

/// Elements of all tables of one instance. A large Python component has some twenty thousand.
const TABLE_ELEMENTS: u64 = 100_000;
/// Core instances, tables and memories of one component. A component of one core module has about three, a Python one
/// some dozens.
const PARTS: usize = 128;

/// Growth of a memory from which on it is slow: every page costs the kernel about as much as a call costs a detector, and no slice interrupts it.
const SUDDEN: u64 = 256 << 10;

/// A limit that was reached: the reason that is told instead of a failed allocation deep in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is limited to {limit}, {current} are in use, {requested} were asked for")]
pub(super) struct LimitReached {
    pub(super) what: &'static str,
    pub(super) limit: u64,
    pub(super) current: u64,
    pub(super) requested: u64,
}

/// The memory of all instances together.
#[derive(Debug)]
pub(super) struct Total {
    limit: u64,
    used: AtomicU64,
}

impl Total {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> Result<(), LimitReached> {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&after| after <= self.limit)
            })
            .map(drop)
            .map_err(|used| LimitReached {
                what: "memory of all plugins (bytes)",
                limit: self.limit,
                current: used,
                requested: used.saturating_add(bytes),
            })
    }
}

/// Counts what one instance takes, and gives it back to the total when the instance is dropped.
///
/// A guest that wants more memory than it may have is told so by the result of its instruction, as WebAssembly has it: one that collects its
/// garbage then goes on. It can't tell what others have: where all of them together want too much, the call ends.
#[derive(Debug)]
pub(super) struct Meter {
    memory_limit: u64,
    memory: u64,
    /// What the guest was told it can't have in this call.
    refused: Option<LimitReached>,
    /// Whether it grew suddenly in this call, and in the one before.
    sudden: [bool; 2],
    elements: u64,
    total: Arc<Total>,
    stats: Arc<Stats>,
}

impl Meter {
    pub(super) fn new(memory_limit: u64, total: Arc<Total>, stats: Arc<Stats>) -> Self {
        stats.opened();
        Self { memory_limit, memory: 0, refused: None, sudden: [false; 2], elements: 0, total, stats }
    }

    /// A call begins.
    pub(super) fn begin(&mut self) {
        self.refused = None;
        self.sudden = [false, self.sudden[0]];
    }

    /// What the guest was told it can't have since the call began.
    pub(super) fn refused(&self) -> Option<LimitReached> {
        self.refused
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.total.used.fetch_sub(self.memory, Ordering::Relaxed);
        self.stats.closed(self.memory);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The guest's own limit: it is told by the result of its instruction.
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        let requested = self.memory.saturating_add(more);
        if requested > self.memory_limit {
            self.refused = Some(LimitReached {
                what: "memory (bytes)",
                limit: self.memory_limit,
                current: self.memory,
                requested,
            });
            return Ok(false);
        }
        self.total.take(more)?;
        self.stats.grew(more);
        self.memory = requested;
        if current > 0 && more >= SUDDEN {
            self.sudden[0] = true;
            desk::relieve();
            // Whoever has much to remember grows now and then. With every call, only who means harm does.
            if self.sudden[1] {
                desk::stand_back();
            }
        }
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let requested = self.elements.saturating_add(desired.saturating_sub(current) as u64);
        if requested > TABLE_ELEMENTS {
            return Err(LimitReached {
                what: "table elements",
                limit: TABLE_ELEMENTS,
                current: self.elements,
                requested,
            }
            .into());
        }
        self.elements = requested;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_tells_its_name_the_limit_what_is_used_and_what_was_asked_for() {
        let mut meter = Meter::new(100, Total::new(1000), Arc::default());
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(60, 120, None).unwrap(), "the guest is told no");
        let reached = LimitReached { what: "memory (bytes)", limit: 100, current: 60, requested: 120 };
        assert_eq!(meter.refused(), Some(reached));
        meter.begin();
        assert_eq!(meter.refused(), None, "that was another call");
    }

    #[test]
    fn sudden_growth_is_known_in_the_next_call_and_a_first_memory_is_none() {
        const MIB: usize = 1 << 20;
        let mut meter = Meter::new(u64::MAX, Total::new(u64::MAX), Arc::default());
        let mut call = |grows: &[(usize, usize)]| {
            meter.begin();
            for (from, to) in grows {
                assert!(meter.memory_growing(*from, *to, None).unwrap());
            }
            meter.sudden
        };
        assert_eq!(call(&[(0, MIB)]), [false, false]);
        assert_eq!(call(&[(MIB, MIB + 65_536)]), [false, false], "one page of WebAssembly");
        assert_eq!(call(&[(MIB, 2 * MIB)]), [true, false]);
        assert_eq!(call(&[(2 * MIB, 3 * MIB)]), [true, true]);
        assert_eq!(call(&[]), [false, true]);
        assert_eq!(call(&[(3 * MIB, 4 * MIB)]), [true, false], "now and then");
    }

    #[test]
    fn several_memories_and_several_instances_add_up_and_are_given_back() {
        let total = Total::new(150);
        let mut one = Meter::new(100, total.clone(), Arc::default());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!one.memory_growing(0, 60, None).unwrap(), "a second memory of the same instance");
        let mut two = Meter::new(100, total.clone(), Arc::default());
        let error = two.memory_growing(0, 100, None).unwrap_err();
        let what = "memory of all plugins (bytes)";
        assert_eq!(error.downcast_ref(), Some(&LimitReached { what, limit: 150, current: 60, requested: 160 }));
        drop(one);
        assert_eq!(total.used(), 0);
        assert!(two.memory_growing(0, 100, None).unwrap());
    }
}
