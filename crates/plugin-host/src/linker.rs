//! Links the only import that a plugin may have: `log`. Refuses every other import by name.

use std::time::{Duration, Instant};

use wasmtime::component::{Component, HasSelf, Linker, types::ComponentItem};

use super::bindings::log::{self, Level};
use super::sandbox::State;
use super::text::one_line;

pub(super) const LOG: &str = "anomalyzer:plugin/log@0.1.0";
/// Name of an interface that has only types: there is nothing to link.
pub(super) const TYPES: &str = "anomalyzer:plugin/types@0.1.0";

/// Maximum number of messages that one instance may write per [`WINDOW`].
const MESSAGES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
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

/// Rate limit on the log messages of one instance.
#[derive(Debug)]
pub(super) struct LogGate {
    since: Instant,
    written: u32,
    suppressed: u64,
}

impl LogGate {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            written: 0,
            suppressed: 0,
        }
    }

    /// Returns the number of messages that were suppressed before this message. Returns None if
    /// this message is suppressed too.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.written = 0;
        }
        if self.written < MESSAGES {
            self.written += 1;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
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
            self.last_words = Some(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_is_held_back_and_counted() {
        let mut gate = LogGate::new();
        let start = gate.since;
        let passed = (0..1000).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, MESSAGES as usize);
        assert_eq!(gate.pass(start + WINDOW), Some(1000 - u64::from(MESSAGES)));
    }
}
