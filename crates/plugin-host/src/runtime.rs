//! Holds the state that all instances share: the engine, the compiler, the limits and the
//! statistics.

use std::sync::Arc;

use super::compile::Compiler;
use super::config::{Limits, PluginConfig};
use super::engine::{self, Ticker};
use super::error::PluginError;
use super::limits::{Meter, Total};
use super::sandbox::Sandbox;
use super::stats::{AllStats, Stats};

/// Maximum size of the data that a guest may hand to the host at a time in a call without samples,
/// in bytes.
pub(super) const OPENING_BYTES: usize = 64 << 10;

/// Runtime state that all instances share.
pub(super) struct Runtime {
    pub(super) engine: wasmtime::Engine,
    ticker: Arc<Ticker>,
    pub(super) compiler: Compiler,
    pub(super) limits: Limits,
    pub(super) total: Arc<Total>,
    pub(super) stats: AllStats,
    contained: bool,
}

impl Runtime {
    /// Sets up the engine, its ticker and the compiler.
    pub(super) fn new(config: &PluginConfig) -> Result<Self, PluginError> {
        let compiler = Compiler::new(config)?;
        let (engine, ticker) = engine::engine(config, compiler.cache())?;
        Ok(Self {
            engine,
            ticker,
            compiler,
            total: Total::new(config.limits.total_memory_bytes),
            limits: config.limits.clone(),
            stats: AllStats::default(),
            contained: config.contained,
        })
    }

    /// Makes an empty sandbox for an instance of a plugin.
    pub(super) fn sandbox(&self, plugin: Arc<str>) -> Sandbox {
        let stats = self.stats.of(&plugin);
        self.counted_sandbox(plugin, stats)
    }

    /// Makes an empty sandbox for bytes whose name is not known yet. Nobody sees its statistics.
    pub(super) fn sandbox_of_nobody(&self, plugin: Arc<str>) -> Sandbox {
        self.counted_sandbox(plugin, Arc::default())
    }

    fn counted_sandbox(&self, plugin: Arc<str>, stats: Arc<Stats>) -> Sandbox {
        let meter = Meter::new(
            self.limits.memory_bytes,
            Arc::clone(&self.total),
            Arc::clone(&stats),
        );
        let mut sandbox =
            Sandbox::new(&self.engine, Arc::clone(&self.ticker), plugin, meter, stats);
        if self.contained {
            sandbox.contain();
        }
        sandbox
    }

    /// Returns an error if the plugin is quarantined as a whole. No instance of it is opened then.
    pub(super) fn admit(&self, plugin: &Arc<str>) -> Result<(), PluginError> {
        match self
            .stats
            .by_name(plugin)
            .and_then(|stats| stats.quarantine_reason())
        {
            Some(reason) => Err(PluginError::PluginQuarantined {
                plugin: plugin.to_string(),
                reason,
            }),
            None => Ok(()),
        }
    }
}
