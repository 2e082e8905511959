//! The series of one signal, with their ids, watermarks and bounds.

use std::collections::{HashMap, VecDeque};

use anomalyzer_domain::{Labels, Sample, Target, UnixMs};
use anomalyzer_plugin_host::Frame;

/// Time without samples after which a series is closed, so that churning labels cannot fill the
/// memory.
pub(super) const IDLE_MS: i64 = 60 * 60 * 1000;
/// Interval between two searches for idle series.
pub(super) const SCAN_INTERVAL_MS: i64 = 60 * 1000;
/// Maximum number of open series of one signal. Without it, anyone who may write to the topic could
/// fill the memory with names.
pub(super) const MAX_SERIES: usize = 100_000;

/// A series that is open, or closed and not yet freed.
pub(super) struct KnownSeries {
    target: Target,
    pub(super) labels: Labels,
    pub(super) encodings: Vec<Box<[u8]>>,
    pub(super) watermark: UnixMs,
    /// The watermark at the last save.
    saved: UnixMs,
    /// Time of the restore. The series counts as idle from then on.
    restored_at: UnixMs,
    pub(super) recent: VecDeque<Sample>,
}

/// The series of one target: by their labels, and by the encoded bytes of the labels, which saves
/// decoding them again.
#[derive(Default)]
pub(super) struct Group {
    pub(super) ids: HashMap<Labels, u32>,
    pub(super) by_bytes: HashMap<Box<[u8]>, u32>,
}

/// The interned series of one signal. Ids are dense and never reused.
pub(crate) struct SeriesTable {
    pub(super) groups: HashMap<Target, Group>,
    pub(super) known: Vec<Option<KnownSeries>>,
    open: usize,
    scan_at: UnixMs,
    /// Latest time that a sample can have by the present clock.
    pub(super) latest: UnixMs,
    /// Number of samples that were late or repeated.
    pub(crate) late: u64,
    /// Number of samples among them that repeat the newest one.
    pub(crate) repeated: u64,
    /// Number of samples that were not finite.
    pub(crate) not_finite: u64,
    /// Number of samples of series beyond [`MAX_SERIES`].
    pub(crate) dropped: u64,
    /// Number of samples of series whose labels can't be used.
    pub(crate) refused: u64,
    /// The last series whose labels can't be used, with the reason.
    pub(crate) refused_series: Option<String>,
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
    pub(crate) fn set_latest(&mut self, latest: UnixMs) {
        self.latest = latest;
    }

    pub(super) fn put_back(&mut self, target: &Target, group: Group) {
        if !group.ids.is_empty() {
            self.groups.insert(target.clone(), group);
        }
    }

    pub(super) fn close(&mut self, frame: &mut Frame, group: &mut Group, id: u32) {
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
    pub(crate) fn close_idle(&mut self, frame: &mut Frame, now: UnixMs) {
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
    pub(crate) fn free(&mut self, closed: &[u32]) {
        for id in closed {
            if let Some(known) = self.known.get_mut(*id as usize) {
                *known = None;
            }
        }
    }

    /// Opens a series with a saved watermark, unless it is open. Returns its id and its watermark.
    pub(crate) fn restore(
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
    pub(super) fn add(
        &mut self,
        group: &mut Group,
        target: &Target,
        labels: &Labels,
    ) -> Option<u32> {
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
    pub(crate) fn watermark(&self, id: u32) -> Option<UnixMs> {
        let known = self.known.get(id as usize)?.as_ref()?;
        (known.watermark != UnixMs::MAX).then_some(known.watermark)
    }

    /// Returns the open series with samples since the last save.
    pub(crate) fn unsaved(&self) -> Vec<u32> {
        let unsaved =
            |known: &KnownSeries| known.watermark != UnixMs::MAX && known.watermark > known.saved;
        let known = (0..).zip(&self.known);
        known
            .filter_map(|(id, known)| known.as_ref().is_some_and(unsaved).then_some(id))
            .collect()
    }

    /// Returns the ids of all series that are not freed.
    pub(crate) fn ids(&self) -> Vec<u32> {
        (0..)
            .zip(&self.known)
            .filter_map(|(id, known)| known.is_some().then_some(id))
            .collect()
    }

    /// Marks the series as saved up to their watermarks.
    pub(crate) fn set_saved(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(Some(known)) = self.known.get_mut(*id as usize) {
                known.saved = known.watermark;
            }
        }
    }

    /// Returns target and labels of a series.
    pub(crate) fn get(&self, id: u32) -> Option<(&Target, &Labels)> {
        let known = self.known.get(id as usize)?.as_ref()?;
        Some((&known.target, &known.labels))
    }

    /// Returns the id of an open series.
    pub(crate) fn id(&self, target: &Target, labels: &Labels) -> Option<u32> {
        self.groups.get(target)?.ids.get(labels).copied()
    }

    /// Returns the number of open series.
    pub(crate) fn len(&self) -> usize {
        self.open
    }
}
