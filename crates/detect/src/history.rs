//! The past of a signal's series, for a detector that begins anew.

use std::collections::HashMap;

use anomalyzer_domain::{Labels, Sample, UnixMs};
use anomalyzer_plugin_host::Frame;

/// All open series of a signal, each with what is known of its past.
pub(super) struct History {
    pub(super) now: UnixMs,
    pub(super) series: Vec<Past>,
}

/// One of them. The samples rise strictly in time.
pub(super) struct Past {
    pub(super) id: u32,
    pub(super) labels: Labels,
    pub(super) samples: Vec<Sample>,
}

impl History {
    /// As a frame for a detector that was restored up to these watermarks: the other series are
    /// announced.
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
