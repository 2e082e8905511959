//! Samples on their way into a frame: known series are found by their labels or by the bytes of
//! their labels, and late samples are left out.

use anomalyzer_domain::{Labels, LabelsError, Sample, Series, Target};
use anomalyzer_plugin_host::Frame;
use anomalyzer_wire::DecodeError;
use anomalyzer_wire::remote_write::{self, Walk};

use super::table::{Group, SeriesTable};

/// Maximum number of recent samples kept per series: those around an onset, and the past for a
/// detector that lost its state.
pub(crate) const MAX_RECENT: usize = 64;
/// Maximum number of encodings of one label set that are known by their bytes. A producer uses one.
const MAX_ENCODINGS: usize = 2;

impl SeriesTable {
    /// Adds the samples of a target's series to the frame. Drops and counts samples that are late,
    /// repeated or not finite. Prometheus's stale marker closes the series.
    pub(crate) fn feed(&mut self, frame: &mut Frame, target: &Target, series: &[Series]) {
        let mut group = self.groups.remove(target).unwrap_or_default();
        for Series { labels, samples } in series {
            let id = group.ids.get(labels).copied();
            // The labels of a known series were checked when it was opened.
            if id.is_none()
                && let Err(error) = labels.check()
            {
                self.refuse(samples.len(), &error);
                continue;
            }
            let mut into = Feed {
                table: self,
                frame,
                target,
                group: &mut group,
            };
            let samples = samples.iter().map(|sample| Ok(*sample));
            // Decoded labels and samples cannot fail.
            let _ = into.push(id, || Ok(labels.clone()), samples);
        }
        self.put_back(target, group);
    }

    /// Adds the samples of an encoded `WriteRequest` to the frame; see [`Self::feed`]. Drops and
    /// counts the series whose labels can't be used.
    ///
    /// # Errors
    /// The request is malformed. The samples before the fault are in the frame.
    pub(crate) fn feed_encoded(
        &mut self,
        frame: &mut Frame,
        target: &Target,
        mut series: Walk<'_>,
    ) -> Result<(), DecodeError> {
        let mut group = self.groups.remove(target).unwrap_or_default();
        let mut into = Feed {
            table: self,
            frame,
            target,
            group: &mut group,
        };
        let done = series.try_for_each(|series| {
            let series = series?;
            if let Some(id) = into.group.by_bytes.get(&*series.labels).copied() {
                return into
                    .push(
                        Some(id),
                        || remote_write::labels(&series.labels),
                        series.samples,
                    )
                    .map(drop);
            }
            let labels = match remote_write::labels(&series.labels) {
                Ok(labels) => labels,
                Err(DecodeError::Labels(error)) => {
                    into.table.refuse(series.samples.count(), &error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let id = into.group.ids.get(&labels).copied();
            if let Some(id) = into.push(id, || Ok(labels.clone()), series.samples)? {
                into.remember_encoding(id, &series.labels);
            }
            Ok(())
        });
        self.put_back(target, group);
        done
    }

    /// Counts the samples of a series whose labels can't be used.
    fn refuse(&mut self, samples: usize, error: &LabelsError) {
        self.refused += samples as u64;
        self.refused_series = Some(format!("a series {error}"));
    }
}

/// Returns the frame for the samples of one new series, without the samples that the host drops.
pub fn held_back(labels: &Labels, samples: &[Sample]) -> Frame {
    let mut frame = Frame::default();
    let series = Series {
        labels: labels.clone(),
        samples: samples.to_vec(),
    };
    SeriesTable::default().feed(
        &mut frame,
        &Target::new("", "Process", "held-back"),
        &[series],
    );
    frame
}

/// Adds the samples of one target to a frame. The group is taken out of the table meanwhile, so
/// that it is looked up once.
struct Feed<'a> {
    table: &'a mut SeriesTable,
    frame: &'a mut Frame,
    target: &'a Target,
    group: &'a mut Group,
}

impl Feed<'_> {
    /// Adds the samples of one series. Returns the id of the series, or None if it has no sample
    /// yet or was closed.
    fn push(
        &mut self,
        mut id: Option<u32>,
        labels: impl Fn() -> Result<Labels, DecodeError>,
        samples: impl Iterator<Item = Result<Sample, DecodeError>>,
    ) -> Result<Option<u32>, DecodeError> {
        for sample in samples {
            let sample = sample?;
            if !sample.value.is_finite() {
                match sample.is_stale_marker() {
                    true => id
                        .take()
                        .into_iter()
                        .for_each(|id| self.table.close(self.frame, self.group, id)),
                    false => self.table.not_finite += 1,
                }
                continue;
            }
            if let Some(index) = id
                && self.is_ahead(index)
            {
                self.table.close(self.frame, self.group, index);
                id = None;
            }
            let index = match id {
                Some(index) => index,
                None => {
                    let Some(index) = self.intern(labels()?) else {
                        self.table.dropped += 1;
                        continue;
                    };
                    id = Some(index);
                    index
                }
            };
            let Some(Some(known)) = self.table.known.get_mut(index as usize) else {
                return Ok(None);
            };
            if sample.at <= known.watermark {
                self.table.late += 1;
                self.table.repeated += u64::from(sample.at == known.watermark);
                continue;
            }
            known.watermark = sample.at;
            if known.recent.len() == MAX_RECENT {
                known.recent.pop_front();
            }
            known.recent.push_back(sample);
            self.frame.push(index, sample.at, sample.value);
        }
        Ok(id)
    }

    /// Returns true if the watermark of an open series is from a time when the clock was ahead.
    fn is_ahead(&self, id: u32) -> bool {
        let watermark = self.table.watermark(id);
        watermark.is_some_and(|watermark| watermark > self.table.latest)
    }

    fn intern(&mut self, labels: Labels) -> Option<u32> {
        let id = self.table.add(self.group, self.target, &labels)?;
        self.frame.opened.push((id, labels));
        Some(id)
    }

    /// Remembers the encoded labels of a series.
    fn remember_encoding(&mut self, id: u32, bytes: &[u8]) {
        let Some(Some(known)) = self.table.known.get_mut(id as usize) else {
            return;
        };
        if known.encodings.len() < MAX_ENCODINGS {
            known.encodings.push(bytes.into());
            self.group.by_bytes.insert(bytes.into(), id);
        }
    }
}
