//! Saves and restores the state of a detector. Detectors need not support this.

use super::bindings::detector::exports::anomalyzer::plugin::detector::Series as GuestSeries;
use super::bindings::types;
use super::detector::DetectorInstance;
use super::error::PluginError;
use super::runtime::OPENING_BYTES;
use super::text::one_line;
use anomalyzer_domain::Labels;

/// Maximum size of the saved state of one series, in bytes.
pub const MOST_SAVED: usize = 1 << 20;

/// Saved state to restore into a detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Id under which the series is opened, and its labels. None stands for the state that the
    /// series share.
    pub of: Option<(u32, Labels)>,
    /// Version of the plugin that saved the state.
    pub from_version: String,
    /// Saved bytes.
    pub bytes: Vec<u8>,
}

impl DetectorInstance {
    /// Asks the detector for its state of one series or, for `None`, for the state that its series
    /// share. Returns None if the detector keeps no state of that kind: it exports no `state`, or
    /// reports that this is unsupported. More than [`MOST_SAVED`] bytes are a fault.
    pub fn save(&mut self, of: Option<u32>) -> Result<Option<Vec<u8>>, PluginError> {
        let plugin = &self.plugin;
        let Some(state) = self.instance.guest()?.exports.state.clone() else {
            return Ok(None);
        };
        let deadline = plugin.runtime.limits.call_deadline;
        let bytes = OPENING_BYTES + MOST_SAVED;
        let answer = self.instance.exchange(
            "save",
            deadline,
            bytes,
            |store, guest| state.call_save(store, guest.monitor, of),
            |saved| {
                if saved.len() > MOST_SAVED {
                    return Err(PluginError::Limit {
                        plugin: plugin.name.to_string(),
                        call: "save",
                        what: "memory saved of a series (bytes)",
                        limit: MOST_SAVED as u64,
                        current: 0,
                        requested: saved.len() as u64,
                    });
                }
                Ok(saved)
            },
        )?;
        match answer {
            Ok(saved) => Ok(Some(saved)),
            Err(types::Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(PluginError::from_guest(error)),
        }
    }

    /// Opens a series with its saved state. No frame may announce the series as well. After an
    /// error that left the instance alive, the series is not open.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), PluginError> {
        let Some(state) = self.instance.guest()?.exports.state.clone() else {
            return Err(PluginError::Unsupported(format!(
                "plugin `{}` exports no `state`",
                self.plugin.name
            )));
        };
        let labels: Vec<(&str, &str)> = saved
            .of
            .iter()
            .flat_map(|(_, labels)| labels.iter())
            .collect();
        let of = saved.of.as_ref().map(|(id, _)| GuestSeries {
            id: *id,
            labels: &labels,
        });
        let from = one_line(&saved.from_version, 64);
        self.instance.call(
            "restore",
            self.plugin.runtime.limits.call_deadline,
            OPENING_BYTES,
            |store, guest| state.call_restore(store, guest.monitor, of, &from, &saved.bytes),
            Ok,
        )
    }
}
