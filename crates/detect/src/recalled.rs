//! Gives an instance back what was saved, and tells what became of it.

use std::collections::HashMap;

use super::memory::Kept;
use anomalyzer_domain::UnixMs;
use anomalyzer_plugin_host::{DetectorHandle, PluginError, Saved};

/// What became of what was saved.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// The series that were restored, each with the time up to which it knows its samples.
    pub(super) series: HashMap<u32, UnixMs>,
    /// Of those that the detector wants to see more of before it says anything: how many samples it
    /// has seen.
    pub(super) young: HashMap<u32, u32>,
    /// How many were not.
    pub(super) refused: usize,
    /// Why the last of them was not.
    pub(super) why: Option<String>,
}

impl Recalled {
    pub(super) fn refuse(&mut self, how_many: usize, why: impl Into<String>) {
        if how_many > 0 {
            self.refused += how_many;
            self.why = Some(why.into());
        }
    }
}

/// Opens series of an instance with what was saved of them. False when it was lost over it: then it
/// is opened anew, and knows nothing.
pub(super) async fn give_back(
    handle: &DetectorHandle,
    kept: Vec<(Option<u32>, Kept)>,
    recalled: &mut Recalled,
) -> bool {
    let Err(error) = restore(handle, kept, recalled).await else {
        return true;
    };
    tracing::warn!(detector = handle.name(), %error, "a detector fell over what had been saved");
    if let Err(error) = handle.reopen().await {
        tracing::warn!(detector = handle.name(), %error, "it can't be opened anew yet");
    }
    false
}

/// Opens series of an instance with what was saved of them.
///
/// # Errors
/// The instance was lost over it, and with it what had been restored before.
async fn restore(
    handle: &DetectorHandle,
    kept: Vec<(Option<u32>, Kept)>,
    recalled: &mut Recalled,
) -> Result<(), PluginError> {
    let (mut saved, mut ids) = (
        Vec::with_capacity(kept.len()),
        Vec::with_capacity(kept.len()),
    );
    for (id, kept) in kept {
        let Some(bytes) = kept.saved else {
            recalled.refuse(1, "the detector could not save it");
            continue;
        };
        let of = id.zip(kept.series).map(|(id, (_, labels))| (id, labels));
        ids.push((id, kept.watermark, kept.seen));
        saved.push(Saved {
            of,
            from_version: kept.version,
            bytes,
        });
    }
    let answers = match handle.restore(saved).await {
        Ok(answers) => answers,
        Err(error) => {
            let lost = recalled.series.len() + ids.len();
            recalled.series.clear();
            recalled.young.clear();
            recalled.refuse(lost, error.to_string());
            return Err(error);
        }
    };
    for ((id, watermark, seen), answer) in ids.into_iter().zip(answers) {
        match (id, answer) {
            (Some(id), Ok(())) => {
                recalled.series.insert(id, watermark);
                recalled.young.extend(seen.map(|seen| (id, seen)));
            }
            (None, Ok(())) => {}
            (_, Err(error)) => recalled.refuse(1, error.to_string()),
        }
    }
    Ok(())
}
