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

/// State that the host keeps for one guest.
pub(super) struct State {
    pub(super) plugin: Arc<str>,
    pub(super) log_gate: LogGate,
    /// Last error that the guest logged. This is most often the message of the panic that it traps
    /// with.
    pub(super) last_words: Option<String>,
    /// Rest of the deadline after the first slice, in epochs.
    left: u64,
    meter: Meter,
    stats: Arc<Stats>,
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
            log_gate: LogGate::new(),
            last_words: None,
            left: 0,
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
            match std::mem::take(&mut context.data_mut().left) {
                0 => Err(Trap::Interrupt.into()),
                left => {
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
            last_words,
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
                last_words.as_deref(),
                meter.refused(),
                &error,
            )
        })
    }
}
