//! Isolates one guest: holds its memory and its limits, and makes the calls into it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Store, Trap, UpdateDeadline};

use super::detach::{self, SLICE};
use super::engine::{Ticker, about, epochs};
use super::error::PluginError;
use super::limits::Meter;
use super::log_gate::LogGate;
use super::stats::Stats;
use super::thread_time::{self, Starved};

/// State that the host keeps for one guest.
pub(super) struct State {
    pub(super) plugin: Arc<str>,
    pub(super) log_gate: LogGate,
    /// Last error that the guest logged. This is most often the message of the panic that it traps
    /// with.
    pub(super) last_error: Option<String>,
    /// Rest of the deadline after the first slice, in epochs.
    left: u64,
    budget: Budget,
    meter: Meter,
    stats: Arc<Stats>,
}

/// Time budget of a call. A guest can't sleep, so its processor time is its cost. The clock alone
/// would blame it for a machine that is overloaded.
#[derive(Default)]
struct Budget {
    limit: Duration,
    /// Processor time of the thread, and the clock, at the end of the first slice. The hot path
    /// must not read them.
    begun: Option<(Option<Duration>, Instant)>,
}

/// Multiple of the deadline after which a call ends that got too little processor time.
const MAX_STRETCH: u32 = 5;

impl Budget {
    fn begin(&mut self) {
        self.begun = Some((thread_time::used(), Instant::now()));
    }

    /// Returns the epochs by which a call is extended at its deadline.
    ///
    /// # Errors
    /// The call used its processor time, or waited for too long.
    fn extend(&self) -> wasmtime::Result<u64> {
        let Some((Some(before), begun)) = self.begun else {
            return Err(Trap::Interrupt.into());
        };
        let used = thread_time::used().map_or(self.limit, |used| used.saturating_sub(before));
        match self.rest(used, begun.elapsed()) {
            Ok(rest) => Ok(about(rest)),
            Err(Some(starved)) => Err(starved.into()),
            Err(None) => Err(Trap::Interrupt.into()),
        }
    }

    /// Returns the time until the next look at a call that has used this much processor time.
    /// Returns an error if the call must end.
    fn rest(&self, used: Duration, waited: Duration) -> Result<Duration, Option<Starved>> {
        let rest = self.limit.saturating_sub(used);
        // The statistics of the kernel may lack the last millisecond.
        if rest <= SLICE {
            Err(None)
        } else if waited >= self.limit * MAX_STRETCH {
            Err(Some(Starved { used, waited }))
        } else {
            Ok(rest)
        }
    }
}

/// Store with limits and deadlines. Dropping it frees all resources of the guest at once. No
/// destructor of the guest runs.
pub(super) struct Sandbox {
    store: Store<State>,
    ticker: Arc<Ticker>,
}

impl Sandbox {
    /// Makes an empty sandbox. It has no limits before [`Sandbox::contain`].
    pub(super) fn new(
        engine: &wasmtime::Engine,
        ticker: Arc<Ticker>,
        plugin: Arc<str>,
        meter: Meter,
        stats: Arc<Stats>,
    ) -> Self {
        let state = State {
            plugin,
            log_gate: LogGate::default(),
            last_error: None,
            left: 0,
            budget: Budget::default(),
            meter,
            stats,
        };
        Self {
            store: Store::new(engine, state),
            ticker,
        }
    }

    /// Sets the limits. This must happen before anything is instantiated in the store.
    pub(super) fn contain(&mut self) {
        let store = &mut self.store;
        store.limiter(|state| &mut state.meter);
        // A monitor or a run needs one handle. The rest is room for the guest's own handles.
        store.set_max_component_handles(1024);
        store.epoch_deadline_callback(|mut context| {
            let State { left, budget, .. } = context.data_mut();
            match std::mem::take(left) {
                0 => budget.extend().map(UpdateDeadline::Continue),
                left => {
                    budget.begin();
                    detach::relieve();
                    Ok(UpdateDeadline::Continue(left))
                }
            }
        });
    }

    /// Runs guest code for at most `deadline`. The guest may hand at most about `bytes` to the host
    /// at a time. After an error the sandbox must be dropped, because the guest may be in any
    /// state.
    pub(super) fn call<R>(
        &mut self,
        call: &'static str,
        deadline: Duration,
        bytes: usize,
        run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, PluginError> {
        let slice = about(SLICE);
        let state = self.store.data_mut();
        state.left = epochs(deadline) - slice;
        state.budget.limit = deadline;
        state.meter.begin();
        self.store.set_epoch_deadline(slice);
        self.store.set_hostcall_fuel(bytes);
        let begun = Instant::now();
        let returned = {
            let _inside = self.ticker.enter();
            run(&mut self.store)
        };
        let State {
            plugin,
            last_error,
            stats,
            meter,
            ..
        } = self.store.data();
        stats.call(begun.elapsed());
        returned.map_err(|error| {
            PluginError::from_runtime(
                plugin,
                call,
                deadline,
                last_error.as_deref(),
                meter.refused(),
                &error,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_by_its_processor_time_or_after_a_long_wait() {
        let budget = Budget {
            limit: Duration::from_secs(1),
            begun: None,
        };
        let rest = |used, waited| {
            let rest = budget.rest(Duration::from_millis(used), Duration::from_millis(waited));
            rest.map_err(|starved| starved.is_some())
        };
        assert_eq!(rest(1000, 1000), Err(false), "it spins");
        assert_eq!(rest(5000, 60_000), Err(false), "it spins on a busy machine");
        assert_eq!(rest(300, 1000), Ok(Duration::from_millis(700)));
        assert_eq!(rest(300, 4_999), Ok(Duration::from_millis(700)));
        assert_eq!(rest(300, 5_000), Err(true), "the machine is overloaded");
    }

    #[test]
    fn a_call_that_the_machine_starved_loses_the_instance_and_is_no_fault() {
        let starved = Starved {
            used: Duration::from_millis(10),
            waited: Duration::from_secs(10),
        };
        let limit = Duration::from_secs(1);
        let of = |error: wasmtime::Error| {
            PluginError::from_runtime("p", "observe", limit, None, None, &error)
        };
        let error = of(starved.into());
        assert!(error.lost_instance() && error.is_starvation());
        assert!(!error.is_fault(), "{error}");
        assert!(of(Trap::Interrupt.into()).is_fault());
    }

    #[test]
    fn without_statistics_of_the_kernel_the_clock_counts() {
        let mut budget = Budget::default();
        assert!(budget.extend().is_err());
        budget.begun = Some((None, Instant::now()));
        assert!(
            budget
                .extend()
                .unwrap_err()
                .downcast_ref::<Trap>()
                .is_some()
        );
    }
}
