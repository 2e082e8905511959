//! Calls into an open guest. An instance that misbehaves in a call is lost with all its memory.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

use super::bindings::types;
use super::error::PluginError;
use super::sandbox::{Sandbox, State};

/// Answer of a guest to a call: a value, or an error in its own words.
pub(super) type Answer<A> = Result<A, types::Error>;

/// Open guest of type `G` in a sandbox of its own. After an error that lost the instance, every
/// call returns [`PluginError::Lost`].
pub(super) struct Instance<G> {
    plugin: Arc<str>,
    live: Option<Live<G>>,
}

struct Live<G> {
    sandbox: Sandbox,
    guest: G,
}

impl<G> Instance<G> {
    pub(super) fn new(plugin: Arc<str>, sandbox: Sandbox, guest: G) -> Self {
        Self {
            plugin,
            live: Some(Live { sandbox, guest }),
        }
    }

    /// Returns the guest, or an error if the instance was lost.
    pub(super) fn guest(&self) -> Result<&G, PluginError> {
        match &self.live {
            Some(live) => Ok(&live.guest),
            None => Err(self.lost()),
        }
    }

    /// Calls the guest within `deadline`. The guest may hand at most about `bytes` to the host at a
    /// time. `check` converts the answer, and returns an error if the answer breaks the contract.
    pub(super) fn call<A, R>(
        &mut self,
        name: &'static str,
        deadline: Duration,
        bytes: usize,
        run: impl FnOnce(&mut Store<State>, &G) -> wasmtime::Result<Answer<A>>,
        check: impl FnOnce(A) -> Result<R, String>,
    ) -> Result<R, PluginError> {
        let plugin = Arc::clone(&self.plugin);
        let answer = self.exchange(name, deadline, bytes, run, |answer| {
            check(answer).map_err(|reason| PluginError::Contract {
                plugin: plugin.to_string(),
                call: name,
                reason,
            })
        })?;
        answer.map_err(PluginError::from_guest)
    }

    /// Calls the guest like [`Instance::call`]. Returns the guest's own error as the answer, and an
    /// error only if the instance was lost. Every error of `check` loses the instance.
    pub(super) fn exchange<A, R>(
        &mut self,
        name: &'static str,
        deadline: Duration,
        bytes: usize,
        run: impl FnOnce(&mut Store<State>, &G) -> wasmtime::Result<Answer<A>>,
        check: impl FnOnce(A) -> Result<R, PluginError>,
    ) -> Result<Answer<R>, PluginError> {
        // The instance is taken out, so that it is gone if anything goes wrong in the call.
        let mut live = self.live.take().ok_or_else(|| self.lost())?;
        let Live { sandbox, guest } = &mut live;
        let answer = sandbox.call(name, deadline, bytes, |store| run(store, guest))?;
        let checked = match answer {
            Ok(answer) => Ok(check(answer)?),
            Err(error) => Err(error),
        };
        self.live = Some(live);
        Ok(checked)
    }

    fn lost(&self) -> PluginError {
        PluginError::Lost(self.plugin.to_string())
    }
}
