//! Links the only import that a plugin may have: `log`. Refuses every other import by name.

use std::time::Instant;

use wasmtime::component::{Component, HasSelf, Linker, types::ComponentItem};

use super::bindings::log::{self, Level};
use super::sandbox::State;
use super::text::one_line;

pub(super) const LOG: &str = "anomalyzer:plugin/log@0.1.0";
/// Name of an interface that has only types: there is nothing to link.
pub(super) const TYPES: &str = "anomalyzer:plugin/types@0.1.0";

/// Maximum size of a message, in bytes. Longer messages are cut.
const MESSAGE_BYTES: usize = 512;

/// Returns a linker that knows `log`.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Returns an error that names the first import that the host does not provide.
pub(super) fn refuse_foreign_imports(
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<(), String> {
    for (name, import) in component.component_type().imports(engine) {
        let ours = match (name, &import.ty) {
            (LOG, ComponentItem::ComponentInstance(_)) => true,
            (TYPES, ComponentItem::ComponentInstance(types)) => types
                .exports(engine)
                .all(|(_, item)| matches!(item.ty, ComponentItem::Type(_))),
            _ => false,
        };
        if !ours {
            return Err(format!(
                "it imports `{name}`; a plugin may import nothing but `{LOG}`"
            ));
        }
    }
    Ok(())
}

impl log::Host for State {
    fn log(&mut self, level: Level, message: String) {
        let message = one_line(&message, MESSAGE_BYTES);
        if let Some(suppressed) = self.log_gate.pass(Instant::now()) {
            let plugin = self.plugin.as_ref();
            match level {
                Level::Debug => tracing::debug!(plugin, suppressed, message),
                Level::Info => tracing::info!(plugin, suppressed, message),
                Level::Warn => tracing::warn!(plugin, suppressed, message),
                Level::Error => tracing::error!(plugin, suppressed, message),
            }
        }
        if matches!(level, Level::Error) {
            self.last_error = Some(message);
        }
    }
}
