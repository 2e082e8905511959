//! Restores the saved state of series into a detector instance.

use std::collections::HashMap;

use super::state_store::SavedState;
use anomalyzer_domain::UnixMs;
use anomalyzer_plugin_host::{DetectorHandle, PluginError, Saved};

/// The outcome of a restore.
#[derive(Debug, Default)]
pub(super) struct RestoreReport {
    /// For each restored series: the time of the last sample in its state.
    pub(super) series: HashMap<u32, UnixMs>,
    /// For each restored series in warm-up: the number of samples in its state.
    pub(super) warming_up: HashMap<u32, u32>,
    /// Number of states that were not restored.
    pub(super) refused: usize,
    /// The reason of the last refusal.
    pub(super) why: Option<String>,
}

impl RestoreReport {
    /// Counts states that are not restored.
    pub(super) fn refuse(&mut self, count: usize, why: impl Into<String>) {
        if count > 0 {
            self.refused += count;
            self.why = Some(why.into());
        }
    }
}

/// A state to restore, with the id of its series. The id is None for the state that the series of a
/// detector share, and for a series that is not open.
pub(super) type ToRestore = (Option<u32>, SavedState);

/// Restores series of an instance. Returns false if the instance failed: then it was reopened, and
/// knows nothing.
pub(super) async fn restore_series(
    handle: &DetectorHandle,
    states: Vec<ToRestore>,
    report: &mut RestoreReport,
) -> bool {
    let Err(error) = try_restore(handle, states, report).await else {
        return true;
    };
    tracing::warn!(plugin = handle.name(), %error, "detector failed to restore state");
    if let Err(error) = handle.reopen().await {
        tracing::warn!(plugin = handle.name(), %error, "cannot reopen the detector yet");
    }
    false
}

/// Restores series of an instance.
///
/// # Errors
/// The instance failed. It has lost all state, also the state restored earlier.
async fn try_restore(
    handle: &DetectorHandle,
    states: Vec<ToRestore>,
    report: &mut RestoreReport,
) -> Result<(), PluginError> {
    let mut saved = Vec::with_capacity(states.len());
    let mut series = Vec::with_capacity(states.len());
    for (id, state) in states {
        let Some(bytes) = state.saved else {
            report.refuse(1, "the detector could not save it");
            continue;
        };
        let of = id.zip(state.series).map(|(id, (_, labels))| (id, labels));
        series.push((id, state.watermark, state.seen));
        saved.push(Saved {
            of,
            from_version: state.version,
            bytes,
        });
    }
    let answers = match handle.restore(saved).await {
        Ok(answers) => answers,
        Err(error) => {
            let lost = report.series.len() + series.len();
            report.series.clear();
            report.warming_up.clear();
            report.refuse(lost, error.to_string());
            return Err(error);
        }
    };
    for ((id, watermark, seen), answer) in series.into_iter().zip(answers) {
        match (id, answer) {
            (Some(id), Ok(())) => {
                report.series.insert(id, watermark);
                report.warming_up.extend(seen.map(|seen| (id, seen)));
            }
            (None, Ok(())) => {}
            (_, Err(error)) => report.refuse(1, error.to_string()),
        }
    }
    Ok(())
}
