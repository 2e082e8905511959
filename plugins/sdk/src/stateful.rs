//! Detectors whose state outlives them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Detector, Error, Saved};

/// Detector whose state the host saves. The host saves the state of each series now and then. It
/// returns the state after a restart, after a trap, or to the next version of the detector. An
/// implementation needs only these lines:
///
/// ```ignore
/// impl StatefulDetector for ZScore {}
/// anomalyzer_plugin_sdk::export_stateful_detector!(ZScore);
/// ```
///
/// A restored series must go on as if it had never been saved.
/// [`test::detect_over_restarts`](crate::test::detect_over_restarts) checks this. The host replays
/// the past to a detector without this trait.
///
/// `Series` is written in a format without names. Do not use `#[serde(flatten)]`, `untagged` or
/// `skip_serializing_if` in it.
pub trait StatefulDetector: Detector<Series: Serialize + DeserializeOwned> {
    /// Number of the layout of `Series`. Raise it with every change of the fields, their order or
    /// their types. [`restore`](Self::restore) can read older layouts, if that is worth it. If it
    /// refuses a series, the host replays the past of that series.
    const LAYOUT: u32 = 1;

    /// Restores a series from its saved state. The settings are those at the time of the save. Do
    /// not trust the saved state more than any other input: an [`Error::Invalid`] is better than a
    /// trap later on.
    fn restore(
        &self,
        labels: &[(String, String)],
        saved: &Saved<'_>,
    ) -> Result<Self::Series, Error> {
        let _ = labels;
        if saved.layout == Self::LAYOUT {
            saved.read()
        } else {
            Err(saved.unknown_layout())
        }
    }
}
