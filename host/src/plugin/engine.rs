//! The runtime: one configuration for every plugin, and the ticker that makes deadlines come.

use std::thread;
use std::time::Duration;

use wasmtime::{Cache, Config};

use super::config::PluginConfig;
use super::error::PluginError;

/// How often the epoch moves: the grain of deadlines.
const TICK: Duration = Duration::from_millis(10);

/// Sets the runtime up and starts its ticker, which ends with the last clone of the engine.
pub(super) fn engine(config: &PluginConfig, cache: Option<Cache>) -> Result<wasmtime::Engine, PluginError> {
    let engine = runtime(config.canonical_nan, config.contained, cache)
        .map_err(|error| PluginError::Runtime(format!("{error:#}")))?;
    tick(&engine)?;
    Ok(engine)
}

/// The same for whoever compiles and whoever runs: what one puts into the cache, the other finds there.
pub(super) fn runtime(
    canonical_nan: bool,
    contained: bool,
    cache: Option<Cache>,
) -> wasmtime::Result<wasmtime::Engine> {
    let mut with = Config::new();
    // Determinism: the same bytes and the same input give the same bits on any machine.
    with.cranelift_nan_canonicalization(canonical_nan);
    with.relaxed_simd_deterministic(true);
    // Fewer features, fewer ways in.
    with.wasm_memory64(false);
    with.wasm_multi_memory(false);
    with.wasm_threads(false);
    with.epoch_interruption(contained);
    with.cache(cache);
    wasmtime::Engine::new(&with)
}

/// Moves the epoch for as long as the engine lives, whatever else happens: a deadline depends on nothing but this thread.
fn tick(engine: &wasmtime::Engine) -> Result<(), PluginError> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("plugin-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })
        .map_err(|error| PluginError::Runtime(error.to_string()))?;
    Ok(())
}

/// A time as epochs, never early: the first one may come at once.
pub(super) fn epochs(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(epochs(Duration::from_millis(1)), 2);
        assert_eq!(epochs(Duration::from_secs(1)), 101);
        assert!(epochs(Duration::MAX) < u64::MAX);
    }
}
