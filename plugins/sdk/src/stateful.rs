//! A detector whose memory outlives it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Detector, Error, Saved};

/// A detector whose memory of each series the host saves now and then, and gives back after a
/// restart, after a trap, or to the next version of the detector. Whoever implements it has nothing
/// to write but the line itself:
///
/// ```ignore
/// impl StatefulDetector for ZScore {}
/// anomalyzer_plugin_sdk::export_stateful_detector!(ZScore);
/// ```
///
/// What is restored must go on as if it had never been saved:
/// [`test::detect_over_restarts`](crate::test::detect_over_restarts) tells. A detector without it
/// is shown the past again instead.
///
/// `Series` is written in a format without names: no `#[serde(flatten)]`, `untagged` or
/// `skip_serializing_if` in it.
pub trait StatefulDetector: Detector<Series: Serialize + DeserializeOwned> {
    /// How `Series` is laid out. Raise it with every change of its fields, their order or their
    /// types, and read the older layouts in [`restore`](Self::restore), if that is worth it: a
    /// series that is refused is shown its past again.
    const LAYOUT: u32 = 1;

    /// Takes a series over from what was saved. The settings are those of then. What was saved is
    /// to be trusted no more than any other input: an [`Error::Invalid`] is better than a trap
    /// later on.
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
