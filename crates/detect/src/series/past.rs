//! The recent past of the series, for findings and for detectors that lost their state.

use std::collections::HashMap;

use anomalyzer_domain::{Sample, Series, Target, UnixMs};
use anomalyzer_plugin_host::Frame;

use super::table::{KnownSeries, SeriesTable};
use crate::history::{History, Past};

impl SeriesTable {
    /// Returns all open series with their recent samples before the samples of this frame.
    pub(crate) fn recent_past(&self, frame: &Frame) -> History {
        let mut first: HashMap<u32, UnixMs> = HashMap::new();
        for (id, at) in frame.ids.iter().zip(&frame.at) {
            first.entry(*id).or_insert(*at);
        }
        let before =
            |id: u32, sample: &Sample| first.get(&id).is_none_or(|first| sample.at < *first);
        self.history(frame.now, |id, known| {
            known
                .recent
                .iter()
                .filter(|sample| before(id, sample))
                .copied()
                .collect()
        })
    }

    /// Adds the past that a source kept, up to `now`. Returns all open series with that past,
    /// including the samples before their watermarks.
    pub(crate) fn fill(&mut self, past: Vec<(Target, Series)>, now: UnixMs) -> History {
        let counted = (self.late, self.repeated, self.not_finite);
        let mut samples: HashMap<u32, Vec<Sample>> = HashMap::new();
        for (target, mut series) in past {
            series.samples.retain(|sample| sample.value.is_finite());
            series.samples.sort_by_key(|sample| sample.at);
            series.samples.dedup_by_key(|sample| sample.at);
            // The frame of the history announces new series.
            self.feed(
                &mut Frame::default(),
                &target,
                std::slice::from_ref(&series),
            );
            if let Some(id) = self.id(&target, &series.labels) {
                samples.insert(id, series.samples);
            }
        }
        (self.late, self.repeated, self.not_finite) = counted;
        self.history(now, |id, _| samples.remove(&id).unwrap_or_default())
    }

    fn history(
        &self,
        now: UnixMs,
        mut samples: impl FnMut(u32, &KnownSeries) -> Vec<Sample>,
    ) -> History {
        let known = (0..)
            .zip(&self.known)
            .filter_map(|(id, known)| Some((id, known.as_ref()?)));
        let series = known.map(|(id, known)| Past {
            id,
            labels: known.labels.clone(),
            samples: samples(id, known),
        });
        History {
            now,
            series: series.collect(),
        }
    }

    /// Returns the recent samples of a series up to `until`.
    pub(crate) fn samples(&self, id: u32, until: UnixMs) -> Vec<Sample> {
        let Some(Some(known)) = self.known.get(id as usize) else {
            return vec![];
        };
        known
            .recent
            .iter()
            .filter(|sample| sample.at <= until)
            .copied()
            .collect()
    }

    /// Returns the recent samples up to `until` with their labels.
    pub(crate) fn series(&self, id: u32, until: UnixMs) -> Series {
        let labels = self
            .get(id)
            .map(|(_, labels)| labels.clone())
            .unwrap_or_default();
        Series {
            labels,
            samples: self.samples(id, until),
        }
    }
}
