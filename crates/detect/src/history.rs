//! The past of a signal's series, for a detector that starts anew.

use std::collections::HashMap;

use anomalyzer_domain::{Labels, Sample, UnixMs};
use anomalyzer_plugin_host::Frame;

/// All open series of a signal with their known past.
pub(super) struct History {
    pub(super) now: UnixMs,
    pub(super) series: Vec<Past>,
}

/// The past of one series. The times of the samples rise strictly.
pub(super) struct Past {
    pub(super) id: u32,
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
}

impl History {
    /// Returns the past as a frame for a detector that was `restored` up to these watermarks. The
    /// frame announces the series that were not restored.
    pub(super) fn frame(&self, restored: &HashMap<u32, UnixMs>) -> Frame {
        let mut frame = Frame {
            now: self.now,
            ..Frame::default()
        };
        for Past {
            id,
            labels,
            samples,
        } in &self.series
        {
            let watermark = restored.get(id);
            if watermark.is_none() {
                frame.opened.push((*id, labels.clone()));
            }
            for sample in samples {
                if watermark.is_none_or(|watermark| sample.at > *watermark) {
                    frame.push(*id, sample.at, sample.value);
                }
            }
        }
        frame
    }
}
