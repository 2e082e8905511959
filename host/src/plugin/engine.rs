//! Sets up the WebAssembly runtime: one configuration for every plugin, and the ticker that
//! enforces deadlines.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use wasmtime::{Cache, Config};

use super::config::PluginConfig;
use super::error::PluginError;

/// Time between two steps of the epoch while a guest runs, and so the resolution of deadlines. The
/// epoch counts milliseconds.
const TICK: Duration = Duration::from_millis(1);
/// Maximum number of ticks that the epoch moves at once after the ticker was late.
const MOST_AT_ONCE: u64 = 10;
/// Time between two steps of the epoch while no guest runs.
const IDLE: Duration = Duration::from_millis(10);

/// Sets up the runtime and starts its ticker. The ticker ends soon after the last clone of the
/// engine.
pub(super) fn engine(
    config: &PluginConfig,
    cache: Option<Cache>,
) -> Result<(wasmtime::Engine, Arc<Ticker>), PluginError> {
    let engine = runtime(config.canonical_nan, config.contained, cache)
        .map_err(|error| PluginError::Runtime(format!("{error:#}")))?;
    let ticker = Ticker::start(&engine)?;
    Ok((engine, ticker))
}

/// Returns the runtime, for the process that compiles and for the process that runs plugins. Both
/// need equal settings, so that the running process finds the compiled code in the cache.
pub(super) fn runtime(
    canonical_nan: bool,
    contained: bool,
    cache: Option<Cache>,
) -> wasmtime::Result<wasmtime::Engine> {
    let mut with = Config::new();
    // Determinism: the same bytes and the same input give the same bits on any machine.
    with.cranelift_nan_canonicalization(canonical_nan);
    with.relaxed_simd_deterministic(true);
    // Every feature that is off is one way less to attack the host.
    with.wasm_memory64(false);
    with.wasm_multi_memory(false);
    with.wasm_threads(false);
    with.epoch_interruption(contained);
    with.cache(cache);
    wasmtime::Engine::new(&with)
}

/// Moves the epoch on a thread of its own, so that a deadline depends on nothing but that thread.
/// The epoch moves often while a guest runs, and seldom otherwise.
#[derive(Default)]
pub(super) struct Ticker {
    inside: AtomicUsize,
    thread: OnceLock<Thread>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Arc<Self>, PluginError> {
        let (engine, ticker) = (engine.weak(), Arc::new(Self::default()));
        let ticking = Arc::clone(&ticker);
        let started = thread::Builder::new()
            .name("plugin-epoch".to_owned())
            .spawn(move || ticking.tick(&engine))
            .map_err(|error| PluginError::Runtime(error.to_string()))?;
        let _unset = ticker.thread.set(started.thread().clone());
        Ok(ticker)
    }

    fn tick(&self, engine: &wasmtime::EngineWeak) {
        let mut counted = Instant::now();
        while let Some(engine) = engine.upgrade() {
            if self.inside.load(Ordering::SeqCst) == 0 {
                engine.increment_epoch();
                drop(engine);
                thread::park_timeout(IDLE);
                counted = Instant::now();
                continue;
            }
            let passed =
                u64::try_from(counted.elapsed().as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
            for _ in 0..passed.min(MOST_AT_ONCE) {
                engine.increment_epoch();
            }
            drop(engine);
            if passed > 0 {
                counted = Instant::now();
            }
            thread::sleep(TICK);
        }
    }

    /// Ticks often until the returned guard is dropped.
    pub(super) fn enter(&self) -> Inside<'_> {
        if self.inside.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
        Inside(self)
    }
}

/// Guard that marks a thread as inside a guest.
pub(super) struct Inside<'t>(&'t Ticker);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Converts a time to epochs, so that a deadline is never early. The ticker may still count time
/// that passed before the call.
pub(super) fn epochs(limit: Duration) -> u64 {
    about(limit).saturating_add(MOST_AT_ONCE)
}

/// Converts a time to epochs, approximately.
pub(super) fn about(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(TICK.as_nanos()))
        .unwrap_or(u64::MAX / 2)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(epochs(Duration::from_millis(1)), 12);
        assert_eq!(epochs(Duration::from_secs(1)), 1011);
        assert!(epochs(Duration::MAX) < u64::MAX);
    }
}
