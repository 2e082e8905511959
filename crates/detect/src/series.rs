//! The series of one signal: interned labels, watermarks, and the frames that reach a guest.

use std::collections::{HashMap, VecDeque};

use super::history::{History, Past};
use anomalyzer_domain::{Labels, LabelsError, Sample, Series, Target, UnixMs};
use anomalyzer_plugin_host::Frame;
use anomalyzer_wire::DecodeError;
use anomalyzer_wire::remote_write::{self, Walk};

/// Time without samples after which a series is closed, so that churning labels cannot fill the
/// memory.
const IDLE_MS: i64 = 60 * 60 * 1000;
/// Interval between two searches for idle series.
const SCAN_INTERVAL_MS: i64 = 60 * 1000;
/// Maximum number of recent samples kept per series: those around an onset, and the past for a
/// detector that lost its state.
pub(super) const MAX_RECENT: usize = 64;
/// Maximum number of open series of one signal. Without it, anyone who may write to the topic could
/// fill the memory with names.
const MAX_SERIES: usize = 100_000;
/// Maximum number of encodings of one label set that are known by their bytes. A producer uses one.
const MAX_ENCODINGS: usize = 2;

struct KnownSeries {
    target: Target,
    labels: Labels,
    encodings: Vec<Box<[u8]>>,
    watermark: UnixMs,
    /// The watermark at the last save.
    saved: UnixMs,
    /// Time of the restore. The series counts as idle from then on.
    restored_at: UnixMs,
    recent: VecDeque<Sample>,
}

/// The series of one target: by their labels, and by the encoded bytes of the labels, which saves
/// decoding them again.
#[derive(Default)]
struct Group {
    ids: HashMap<Labels, u32>,
    by_bytes: HashMap<Box<[u8]>, u32>,
}

/// The interned series of one signal. Ids are dense and never reused.
pub(super) struct SeriesTable {
    groups: HashMap<Target, Group>,
    known: Vec<Option<KnownSeries>>,
    open: usize,
    scan_at: UnixMs,
    /// Latest time that a sample can have by the present clock.
    latest: UnixMs,
    /// Number of samples that were late or repeated.
    pub(super) late: u64,
    /// Number of samples among them that repeat the newest one.
    pub(super) repeated: u64,
    /// Number of samples that were not finite.
    pub(super) not_finite: u64,
    /// Number of samples of series beyond [`MAX_SERIES`].
    pub(super) dropped: u64,
    /// Number of samples of series whose labels can't be used.
    pub(super) refused: u64,
    /// The last series whose labels can't be used, with the reason.
    pub(super) refused_series: Option<String>,
}

impl Default for SeriesTable {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            known: Vec::new(),
            open: 0,
            scan_at: UnixMs::MIN,
            latest: UnixMs::MAX,
            late: 0,
            repeated: 0,
            not_finite: 0,
            dropped: 0,
            refused: 0,
            refused_series: None,
        }
    }
}

impl SeriesTable {
    /// Sets the latest time that a sample can have by the present clock. A series with a later
    /// watermark comes from a time when the clock was ahead. It ends with its next sample, and
    /// begins anew: otherwise all its samples would be late until that time comes.
    pub(super) fn set_latest(&mut self, latest: UnixMs) {
        self.latest = latest;
    }

    /// Adds the samples of a target's series to the frame. Drops and counts samples that are late,
    /// repeated or not finite. Prometheus's stale marker closes the series.
    pub(super) fn feed(&mut self, frame: &mut Frame, target: &Target, series: &[Series]) {
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
    pub(super) fn feed_encoded(
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

    fn put_back(&mut self, target: &Target, group: Group) {
        if !group.ids.is_empty() {
            self.groups.insert(target.clone(), group);
        }
    }

    fn close(&mut self, frame: &mut Frame, group: &mut Group, id: u32) {
        let Some(Some(known)) = self.known.get_mut(id as usize) else {
            return;
        };
        group.ids.remove(&known.labels);
        for encoding in known.encodings.drain(..) {
            group.by_bytes.remove(&encoding);
        }
        // The entry stays until `free`, because the findings of the frame refer to it.
        known.watermark = UnixMs::MAX;
        self.open -= 1;
        frame.closed.push(id);
    }

    /// Closes the series without a sample for [`IDLE_MS`] before `now`.
    pub(super) fn close_idle(&mut self, frame: &mut Frame, now: UnixMs) {
        let is_ahead = self.scan_at > now.saturating_add(SCAN_INTERVAL_MS);
        if now < self.scan_at && !is_ahead {
            return;
        }
        self.scan_at = now.saturating_add(SCAN_INTERVAL_MS);
        let active_at = |known: &KnownSeries| known.watermark.max(known.restored_at);
        let latest = self.latest;
        let idle = |known: &KnownSeries| {
            let active_at = active_at(known);
            let is_idle = now.saturating_sub(active_at) > IDLE_MS || active_at > latest;
            known.watermark != UnixMs::MAX && is_idle
        };
        let idle: Vec<(u32, Target)> = (0..)
            .zip(&self.known)
            .filter_map(|(id, known)| {
                Some((
                    id,
                    known.as_ref().filter(|known| idle(known))?.target.clone(),
                ))
            })
            .collect();
        for (id, target) in idle {
            let mut group = self.groups.remove(&target).unwrap_or_default();
            self.close(frame, &mut group, id);
            self.put_back(&target, group);
        }
    }

    /// Frees closed series. The caller must first read the findings of the frame that closed them.
    pub(super) fn free(&mut self, closed: &[u32]) {
        for id in closed {
            if let Some(known) = self.known.get_mut(*id as usize) {
                *known = None;
            }
        }
    }

    /// Returns all open series with their recent samples before the samples of this frame.
    pub(super) fn recent_past(&self, frame: &Frame) -> History {
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
    pub(super) fn fill(&mut self, past: Vec<(Target, Series)>, now: UnixMs) -> History {
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

    /// Opens a series with a saved watermark, unless it is open. Returns its id and its watermark.
    pub(super) fn restore(
        &mut self,
        target: &Target,
        labels: &Labels,
        watermark: UnixMs,
        now: UnixMs,
    ) -> Option<(u32, UnixMs)> {
        if let Some(id) = self.id(target, labels) {
            return Some((id, self.watermark(id)?));
        }
        let mut group = self.groups.remove(target).unwrap_or_default();
        let id = self.add(&mut group, target, labels);
        self.put_back(target, group);
        let id = id?;
        if let Some(Some(known)) = self.known.get_mut(id as usize) {
            (known.watermark, known.saved, known.restored_at) = (watermark, watermark, now);
        }
        Some((id, watermark))
    }

    /// Opens a series. Returns None if [`MAX_SERIES`] are open, or all ids are used.
    fn add(&mut self, group: &mut Group, target: &Target, labels: &Labels) -> Option<u32> {
        if self.open >= MAX_SERIES {
            return None;
        }
        let id = u32::try_from(self.known.len()).ok()?;
        group.ids.insert(labels.clone(), id);
        self.known.push(Some(KnownSeries {
            target: target.clone(),
            labels: labels.clone(),
            encodings: Vec::new(),
            watermark: UnixMs::MIN,
            saved: UnixMs::MIN,
            restored_at: UnixMs::MIN,
            recent: VecDeque::new(),
        }));
        self.open += 1;
        Some(id)
    }

    /// Returns the time of the newest sample of an open series.
    pub(super) fn watermark(&self, id: u32) -> Option<UnixMs> {
        let known = self.known.get(id as usize)?.as_ref()?;
        (known.watermark != UnixMs::MAX).then_some(known.watermark)
    }

    /// Returns the open series with samples since the last save.
    pub(super) fn unsaved(&self) -> Vec<u32> {
        let unsaved =
            |known: &KnownSeries| known.watermark != UnixMs::MAX && known.watermark > known.saved;
        let known = (0..).zip(&self.known);
        known
            .filter_map(|(id, known)| known.as_ref().is_some_and(unsaved).then_some(id))
            .collect()
    }

    /// Returns the ids of all series that are not freed.
    pub(super) fn ids(&self) -> Vec<u32> {
        (0..)
            .zip(&self.known)
            .filter_map(|(id, known)| known.is_some().then_some(id))
            .collect()
    }

    /// Marks the series as saved up to their watermarks.
    pub(super) fn set_saved(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(Some(known)) = self.known.get_mut(*id as usize) {
                known.saved = known.watermark;
            }
        }
    }

    /// Returns target and labels of a series.
    pub(super) fn get(&self, id: u32) -> Option<(&Target, &Labels)> {
        let known = self.known.get(id as usize)?.as_ref()?;
        Some((&known.target, &known.labels))
    }

    /// Returns the id of an open series.
    pub(super) fn id(&self, target: &Target, labels: &Labels) -> Option<u32> {
        self.groups.get(target)?.ids.get(labels).copied()
    }

    /// Returns the recent samples of a series up to `until`.
    pub(super) fn samples(&self, id: u32, until: UnixMs) -> Vec<Sample> {
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
    pub(super) fn series(&self, id: u32, until: UnixMs) -> Series {
        let labels = self
            .get(id)
            .map(|(_, labels)| labels.clone())
            .unwrap_or_default();
        Series {
            labels,
            samples: self.samples(id, until),
        }
    }

    /// Returns the number of open series.
    pub(super) fn len(&self) -> usize {
        self.open
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

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_wire::AcceptedTime;

    fn web() -> Target {
        Target::new("", "Process", "web")
    }

    fn walk(payload: &[u8]) -> Walk<'_> {
        remote_write::walk(payload, AcceptedTime::at(i64::MAX))
    }

    #[test]
    fn a_series_of_a_clock_that_was_ahead_begins_anew_and_loses_no_sample() {
        let mut table = SeriesTable::default();
        let feed = |table: &mut SeriesTable, latest: i64, at: i64| {
            let mut frame = Frame::default();
            table.set_latest(latest);
            let series = Series {
                labels: Labels::new([("a", "b")]),
                samples: vec![Sample { at, value: 1.0 }],
            };
            table.feed(&mut frame, &web(), &[series]);
            (frame.opened.len(), frame.closed, frame.ids)
        };
        assert_eq!(feed(&mut table, 1_000_100, 1_000_000), (1, vec![], vec![0]));
        // The clock is right again.
        assert_eq!(feed(&mut table, 600, 500), (1, vec![0], vec![1]));
        assert_eq!(feed(&mut table, 700, 600), (0, vec![], vec![1]));
        assert_eq!((table.len(), table.late), (1, 0));
        // A sample that is only late stays late.
        assert_eq!(feed(&mut table, 800, 550), (0, vec![], vec![]));
        assert_eq!((table.late, table.repeated), (1, 0));
    }

    fn feed(samples: &[(i64, f64)]) -> (Frame, SeriesTable) {
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(at, value)| Sample {
                at: *at,
                value: *value,
            })
            .collect();
        table.feed(
            &mut frame,
            &web(),
            &[Series {
                labels: Labels::new([("a", "b")]),
                samples,
            }],
        );
        (frame, table)
    }

    #[test]
    fn late_repeated_and_non_finite_samples_never_reach_a_guest() {
        let (frame, table) = feed(&[
            (1, 1.0),
            (1, 2.0),
            (3, f64::NAN),
            (4, f64::INFINITY),
            (2, 2.0),
            (2, 9.0),
            (5, 5.0),
        ]);
        assert_eq!(frame.values, [1.0, 2.0, 5.0]);
        assert_eq!((table.late, table.not_finite), (2, 2));
    }

    #[test]
    fn a_stale_marker_closes_the_series_and_its_id_is_not_used_again() {
        let stale = f64::from_bits(anomalyzer_domain::STALE_NAN_BITS);
        let (frame, table) = feed(&[(1, 1.0), (2, stale), (3, 3.0)]);
        assert_eq!(frame.closed, [0]);
        assert_eq!(
            frame.opened.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [0, 1]
        );
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_past_of_a_frame_ends_where_the_frame_begins() {
        let (_, mut table) = feed(&[(1, 1.0), (2, 2.0)]);
        let mut frame = Frame::default();
        let series = Series {
            labels: Labels::new([("a", "b")]),
            samples: vec![Sample { at: 3, value: 3.0 }],
        };
        table.feed(&mut frame, &web(), &[series]);
        let past = table.recent_past(&frame).frame(&HashMap::new());
        assert_eq!(
            (past.values.as_slice(), past.opened.len()),
            ([1.0, 2.0].as_slice(), 1)
        );
        let rest = table.recent_past(&frame).frame(&HashMap::from([(0, 1)]));
        assert_eq!(
            (rest.values.as_slice(), rest.opened.len()),
            ([2.0].as_slice(), 0),
            "it was restored up to 1"
        );
    }

    #[test]
    fn a_series_that_was_recalled_takes_only_what_comes_after_its_watermark() {
        let labels = Labels::new([("a", "b")]);
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        assert_eq!(table.restore(&web(), &labels, 2, 9), Some((0, 2)));
        assert_eq!(
            table.restore(&web(), &labels, 7, 9),
            Some((0, 2)),
            "it is open"
        );
        let samples = (1..=4)
            .map(|at| Sample {
                at,
                value: at as f64,
            })
            .collect();
        table.feed(&mut frame, &web(), &[Series { labels, samples }]);
        assert_eq!(
            (frame.values.as_slice(), frame.opened.len(), table.late),
            ([3.0, 4.0].as_slice(), 0, 2)
        );
        assert_eq!(table.unsaved(), [0]);
        table.set_saved(&[0]);
        assert!(table.unsaved().is_empty());
    }

    #[test]
    fn a_recalled_series_is_silent_from_the_recall_on() {
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        let now = 10 * IDLE_MS;
        table.restore(&web(), &Labels::default(), 1, now);
        table.close_idle(&mut frame, now);
        assert_eq!(table.len(), 1);
        table.close_idle(&mut frame, now + IDLE_MS + 1);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_past_is_sorted_and_shows_also_what_came_before_the_watermark() {
        let labels = Labels::new([("a", "b")]);
        let mut table = SeriesTable::default();
        table.restore(&web(), &labels, 2, 9);
        let samples = [3, 1, 2, 2]
            .map(|at| Sample {
                at,
                value: at as f64,
            })
            .to_vec();
        let new = Series {
            labels: Labels::default(),
            samples: vec![
                Sample {
                    at: 1,
                    value: f64::NAN,
                },
                Sample { at: 2, value: 5.0 },
            ],
        };
        let history = table.fill(vec![(web(), Series { labels, samples }), (web(), new)], 9);
        assert_eq!(history.frame(&HashMap::new()).values, [1.0, 2.0, 3.0, 5.0]);
        assert_eq!(history.frame(&HashMap::from([(0, 2)])).values, [3.0, 5.0]);
        assert_eq!((table.late, table.not_finite, table.len()), (0, 0, 2));
    }

    #[test]
    fn encoded_series_are_the_same_series_and_a_broken_end_leaves_what_came_before() {
        let series = |name: &str, at| Series {
            labels: Labels::new([("a", "b"), ("name", name)]),
            samples: vec![Sample { at, value: 1.0 }],
        };
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        table.feed(&mut frame, &web(), &[series("x", 1)]);
        for at in [2, 3] {
            let payload = remote_write::encode(&[series("x", at), series("y", at)]);
            table
                .feed_encoded(&mut frame, &web(), walk(&payload))
                .unwrap();
        }
        assert_eq!(frame.ids, [0, 0, 1, 0, 1]);
        let mut broken = remote_write::encode(&[series("x", 4), series("y", 4)]);
        broken.truncate(broken.len() - 1);
        assert!(
            table
                .feed_encoded(&mut frame, &web(), walk(&broken))
                .is_err()
        );
        assert_eq!(frame.ids, [0, 0, 1, 0, 1, 0]);
        // Closed, a series is a new one even if it comes in the same bytes.
        let stale = Series {
            samples: vec![Sample::stale_marker(5)],
            ..series("x", 5)
        };
        table
            .feed_encoded(
                &mut frame,
                &web(),
                walk(&remote_write::encode(&[stale, series("x", 6)])),
            )
            .unwrap();
        assert_eq!(
            (frame.closed.as_slice(), frame.ids.last()),
            ([0].as_slice(), Some(&2))
        );
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn what_is_silent_for_an_hour_is_forgotten_with_its_bytes() {
        let series = Series {
            labels: Labels::new([("a", "b")]),
            samples: vec![Sample { at: 1, value: 1.0 }],
        };
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        table
            .feed_encoded(&mut frame, &web(), walk(&remote_write::encode(&[series])))
            .unwrap();
        table.close_idle(&mut frame, IDLE_MS);
        assert_eq!((table.len(), table.groups.len()), (1, 1));
        table.close_idle(&mut frame, IDLE_MS + SCAN_INTERVAL_MS);
        assert_eq!(
            (table.len(), table.groups.len(), frame.closed.as_slice()),
            (0, 0, [0].as_slice())
        );
    }

    #[test]
    fn more_series_than_are_watched_are_overlooked_and_counted_until_others_end() {
        let series = |name: usize, at| Series {
            labels: Labels::new([("name", name.to_string())]),
            samples: vec![Sample { at, value: 1.0 }],
        };
        let (mut frame, mut table) = (Frame::default(), SeriesTable::default());
        let all: Vec<Series> = (0..MAX_SERIES + 2).map(|name| series(name, 1)).collect();
        table.feed(&mut frame, &web(), &all);
        assert_eq!((table.len(), table.dropped), (MAX_SERIES, 2));
        let stale = Series {
            samples: vec![Sample::stale_marker(2)],
            ..series(0, 2)
        };
        table.feed(&mut frame, &web(), &[stale, series(MAX_SERIES, 2)]);
        assert_eq!((table.len(), table.dropped), (MAX_SERIES, 2));
    }

    #[test]
    fn a_series_with_labels_that_can_t_be_used_costs_itself_only_and_is_counted() {
        let series = |pod: &str| Series {
            labels: Labels::new([("pod", pod)]),
            samples: vec![Sample { at: 1, value: 1.0 }],
        };
        let long = "x".repeat(anomalyzer_domain::MAX_LABEL_VALUE_BYTES + 1);
        for wrong in ["we\u{202e}b", "web\n", "\u{200b}", "\u{1b}[2J", &long] {
            let all = [series("a"), series(wrong), series("b")];
            for is_encoded in [true, false] {
                let (mut table, mut frame) = (SeriesTable::default(), Frame::default());
                if is_encoded {
                    let payload = remote_write::encode(&all);
                    table
                        .feed_encoded(&mut frame, &web(), walk(&payload))
                        .unwrap();
                } else {
                    table.feed(&mut frame, &web(), &all);
                }
                assert_eq!((table.len(), frame.ids.len()), (2, 2), "{wrong:?}");
                assert_eq!(table.refused, 1);
                let told = table.refused_series.unwrap();
                assert!(told.contains("`pod`"), "{told}");
                assert!(!told.contains(anomalyzer_domain::is_hidden), "{told:?}");
            }
        }
    }
}
