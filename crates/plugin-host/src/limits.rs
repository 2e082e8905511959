//! Limits the memory, tables and core instances of one instance, and the memory of all instances
//! together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use super::detach;
use super::stats::Stats;

/// Maximum number of elements in all tables of one instance. A large Python component has about
/// twenty thousand.
const TABLE_ELEMENTS: u64 = 100_000;
/// Maximum number of core instances, of tables and of memories of one component. A component of one
/// core module has about three, and a Python component has some dozens.
const PARTS: usize = 128;

/// Growth within one call, in bytes, from which on the growth is sudden, and slow. It is the
/// kernel's work, page after page, and no slice interrupts it.
const SUDDEN: u64 = 256 << 10;
/// Number of consecutive calls with sudden growth from which on the guest is suspect. A detector
/// that opens series does not grow suddenly that often.
const TOO_OFTEN: u32 = 3;

/// Limit that was reached. It is reported as the reason, in place of an allocation that failed deep
/// in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is limited to {limit}, {current} are in use, {requested} were asked for")]
pub(super) struct LimitReached {
    pub(super) what: &'static str,
    pub(super) limit: u64,
    pub(super) current: u64,
    pub(super) requested: u64,
}

/// Memory of all instances together.
#[derive(Debug)]
pub(super) struct Total {
    limit: u64,
    used: AtomicU64,
}

impl Total {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
        })
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

/// Counts the memory of one instance, and gives it back to the total when the instance is dropped.
///
/// A guest that asks for more memory than its own limit gets the refusal as the result of its
/// instruction, as WebAssembly specifies. A guest that collects its garbage can then go on. A guest
/// can't know the use of other instances. If all instances together ask for too much, the call
/// ends.
#[derive(Debug)]
pub(super) struct Meter {
    memory_limit: u64,
    memory: u64,
    /// Request of the guest that was refused in this call.
    refused: Option<LimitReached>,
    /// Growth in this call, in bytes. The initial size of a memory does not count.
    grown: u64,
    /// Number of consecutive calls with sudden growth, up to the previous call.
    sudden: u32,
    elements: u64,
    total: Arc<Total>,
    stats: Arc<Stats>,
}

impl Meter {
    pub(super) fn new(memory_limit: u64, total: Arc<Total>, stats: Arc<Stats>) -> Self {
        stats.opened();
        Self {
            memory_limit,
            memory: 0,
            refused: None,
            grown: 0,
            sudden: 0,
            elements: 0,
            total,
            stats,
        }
    }

    /// Starts the counts of a new call.
    pub(super) fn begin(&mut self) {
        self.refused = None;
        self.sudden = if self.grown >= SUDDEN {
            self.sudden.saturating_add(1)
        } else {
            0
        };
        self.grown = 0;
    }

    /// Returns the request of the guest that was refused since the call began.
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
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // This is the guest's own limit. The guest gets the refusal as the result of its
            // instruction.
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
        let before = self.grown;
        if current > 0 {
            self.grown = before.saturating_add(more);
        }
        if before < SUDDEN && self.grown >= SUDDEN {
            detach::relieve();
            if self.sudden.saturating_add(1) >= TOO_OFTEN {
                detach::stand_back();
            }
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let requested = self
            .elements
            .saturating_add(desired.saturating_sub(current) as u64);
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
        assert!(
            !meter.memory_growing(60, 120, None).unwrap(),
            "the guest is told no"
        );
        let reached = LimitReached {
            what: "memory (bytes)",
            limit: 100,
            current: 60,
            requested: 120,
        };
        assert_eq!(meter.refused(), Some(reached));
        meter.begin();
        assert_eq!(meter.refused(), None, "that was another call");
    }

    #[test]
    fn calls_that_grow_suddenly_are_counted_while_they_follow_each_other() {
        const MIB: usize = 1 << 20;
        const PAGE: usize = 64 << 10;
        let mut meter = Meter::new(u64::MAX, Total::new(u64::MAX), Arc::default());
        let mut running = |grows: &[(usize, usize)]| {
            for (from, to) in grows {
                assert!(meter.memory_growing(*from, *to, None).unwrap());
            }
            meter.begin();
            meter.sudden
        };
        assert_eq!(running(&[(0, MIB)]), 0, "a first memory is no growth");
        assert_eq!(running(&[(MIB, MIB + PAGE)]), 0);
        assert_eq!(running(&[(MIB, 2 * MIB)]), 1);
        let page_by_page: Vec<_> = (0..4)
            .map(|page| (2 * MIB + page * PAGE, 2 * MIB + (page + 1) * PAGE))
            .collect();
        assert_eq!(running(&page_by_page), 2);
        assert_eq!(running(&[]), 0);
        assert_eq!(running(&[(3 * MIB, 4 * MIB)]), 1);
    }

    #[test]
    fn several_memories_and_several_instances_add_up_and_are_given_back() {
        let total = Total::new(150);
        let mut one = Meter::new(100, total.clone(), Arc::default());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(
            !one.memory_growing(0, 60, None).unwrap(),
            "a second memory of the same instance"
        );
        let mut two = Meter::new(100, total.clone(), Arc::default());
        let error = two.memory_growing(0, 100, None).unwrap_err();
        let what = "memory of all plugins (bytes)";
        assert_eq!(
            error.downcast_ref(),
            Some(&LimitReached {
                what,
                limit: 150,
                current: 60,
                requested: 160
            })
        );
        drop(one);
        assert_eq!(total.used(), 0);
        assert!(two.memory_growing(0, 100, None).unwrap());
    }
}
