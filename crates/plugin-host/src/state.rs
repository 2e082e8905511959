//! Saves and restores the state of a detector. Detectors need not support this.

use super::bindings::detector::exports::anomalyzer::plugin::detector::Series as GuestSeries;
use super::bindings::types;
use super::detector::{DetectorInstance, Live};
use super::error::PluginError;
use super::{OPENING_BYTES, text};
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
        let plugin = self.plugin.clone();
        let mut live = self.take()?;
        let Live {
            sandbox,
            exports,
            monitor,
        } = &mut live;
        let Some(state) = &exports.state else {
            self.live = Some(live);
            return Ok(None);
        };
        let deadline = plugin.ground.limits.call_deadline;
        let saved = match sandbox.call("save", deadline, OPENING_BYTES + MOST_SAVED, |store| {
            state.call_save(store, *monitor, of)
        })? {
            Ok(saved) if saved.len() > MOST_SAVED => {
                return Err(PluginError::Limit {
                    plugin: plugin.name.to_string(),
                    call: "save",
                    what: "memory saved of a series (bytes)",
                    limit: MOST_SAVED as u64,
                    current: 0,
                    requested: saved.len() as u64,
                });
            }
            Ok(saved) => Ok(Some(saved)),
            Err(types::Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(PluginError::from_guest(error)),
        };
        self.live = Some(live);
        saved
    }

    /// Opens a series with its saved state. No frame may announce the series as well. After an
    /// error that left the instance alive, the series is not open.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), PluginError> {
        let plugin = self.plugin.clone();
        let mut live = self.take()?;
        let Live {
            sandbox,
            exports,
            monitor,
        } = &mut live;
        let Some(state) = &exports.state else {
            self.live = Some(live);
            return Err(PluginError::Unsupported(format!(
                "plugin `{}` exports no `state`",
                plugin.name
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
        let from = text::one_line(&saved.from_version, 64);
        let answer = sandbox.call(
            "restore",
            plugin.ground.limits.call_deadline,
            OPENING_BYTES,
            |store| state.call_restore(store, *monitor, of, &from, &saved.bytes),
        )?;
        self.live = Some(live);
        answer.map_err(PluginError::from_guest)
    }
}
