//! One detector on one signal: its instance, the anomalies that go on in its series, and how it
//! comes by its memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::history::History;
use super::learning::{Learning, Young};
use super::memory::{Hash, Kept, Memory, Onset, Place, settings_hash};
use super::recalled::{Recalled, give_back};
use super::series::SeriesTable;
use super::watched::Means;
use anomalyzer_collect::DetectorConfig;
use anomalyzer_domain::{Direction, Finding, FindingId, Labels, Meaning, Phase, Target, UnixMs};
use anomalyzer_plugin_host::{DetectorHandle, Frame, PluginError, Plugins, Verdict};

/// So many faults in a row, and what was saved is no longer trusted: it may be what the detector
/// trips over.
const TRUSTED_FAULTS: u32 = 2;
/// So many series are saved at once.
pub(super) const SAVED_AT_ONCE: usize = 256;

/// Why an anomaly is over that a detector that begins anew does not know of.
const BEGAN_ANEW: &str = "its detector began anew and does not know of it";

/// What a detector watches.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) signal: &'a str,
    pub(super) meaning: Meaning,
    pub(super) table: &'a SeriesTable,
}

/// A finding, and the series that it is about.
pub(super) type Named = (u32, Target, Finding);

/// A detector on a signal.
pub(super) struct Detector {
    pub(super) config: DetectorConfig,
    pub(super) settings: Hash,
    handle: DetectorHandle,
    /// Whether it watches in place of one that is quarantined.
    pub(super) stands_in: bool,
    onsets: HashMap<u32, Onset>,
    /// The series that it has not seen enough of to say anything.
    young: Young,
    /// Whether it must be opened anew before it sees another frame.
    pub(super) anew: bool,
    /// Faults since the last verdict on a frame.
    faults: u32,
    /// What was found of the past and could not be told yet.
    unsaid: Vec<Named>,
    /// Whether its series may share something that is to be saved.
    shares: bool,
    /// Why it is not saved any more.
    pub(super) not_saved: Option<String>,
    /// How many series were restored when it was opened last.
    pub(super) restored: usize,
    /// Why others were not.
    pub(super) not_restored: Option<String>,
}

impl Detector {
    /// Opens one.
    pub(super) async fn open(
        plugins: &Plugins,
        config: &DetectorConfig,
    ) -> Result<Self, PluginError> {
        let handle = open_instance(plugins, config).await?;
        Ok(Self {
            config: config.clone(),
            settings: settings_hash(config),
            young: Young::new(handle.min_samples()),
            handle,
            stands_in: false,
            onsets: HashMap::new(),
            anew: false,
            faults: 0,
            unsaid: Vec::new(),
            shares: true,
            not_saved: None,
            restored: 0,
            not_restored: None,
        })
    }

    /// `name@version`.
    pub(super) fn title(&self) -> String {
        format!("{}@{}", self.handle.name(), self.handle.version())
    }

    /// How much past it wants to see, in milliseconds.
    pub(super) fn history_ms(&self) -> u64 {
        self.handle.history_ms()
    }

    /// SHA-256 of its bytes.
    pub(super) fn digest(&self) -> &str {
        self.handle.digest()
    }

    /// The series that it has not seen enough of to say anything, if there are such.
    pub(super) fn learning(&mut self, table: &SeriesTable, now: UnixMs) -> Option<Learning> {
        self.young.tell(&self.config.name, table, now)
    }

    /// Whether it knows of an anomaly that goes on in a series.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.onsets.contains_key(&id)
    }

    /// Knows of an anomaly that goes on.
    pub(super) fn recall_onset(&mut self, id: u32, onset: Onset) {
        self.onsets.entry(id).or_insert(onset);
    }

    /// Knows no more of what goes on in these series.
    pub(super) fn forget_onsets(&mut self, ids: &[u32]) {
        for id in ids {
            self.onsets.remove(id);
        }
    }

    /// Shows it a frame. One that lost its instance is opened anew, gets back what was saved of it,
    /// is told what came since, and is asked once more; while that is not yet allowed (it backs
    /// off, or is in quarantine) the error says so. Answers also what it found to be different
    /// after it began anew.
    pub(super) async fn look(
        &mut self,
        of: Subject<'_>,
        frame: &Arc<Frame>,
        memory: Option<&Memory>,
    ) -> Result<Vec<Named>, PluginError> {
        if !self.anew {
            let error = match self.handle.observe(Arc::clone(frame), false).await {
                Ok(verdict) => {
                    self.faults = 0;
                    self.young.take(frame);
                    return Ok(self.name(of, frame, verdict, false));
                }
                Err(error) if !error.lost_instance() => return Err(error),
                Err(error) => error,
            };
            tracing::warn!(
                signal = of.signal, detector = self.config.name, %error,
                "a detector failed; it is opened anew with what is known of its series"
            );
            self.anew = true;
        }
        self.handle.reopen().await?;
        let trusted = self.faults < TRUSTED_FAULTS;
        self.faults += 1;
        let mut recalled = Recalled::default();
        if let Some(memory) = memory.filter(|_| trusted && self.handle.is_stateful()) {
            if !self.recall(&self.handle, of, memory, &mut recalled).await {
                self.faults += 1;
            }
            self.note(&recalled);
        }
        let (found, unknown) = self.learn(of, &of.table.kept(frame), &recalled).await?;
        self.unsaid.extend(found);
        let ended = self.end_all(of, &unknown, frame.now, BEGAN_ANEW);
        self.unsaid.extend(ended);
        // The past has announced all series.
        let verdict = self
            .handle
            .observe(
                Frame {
                    opened: vec![],
                    ..Frame::clone(frame)
                },
                false,
            )
            .await;
        if verdict.as_ref().is_err_and(PluginError::lost_instance) {
            self.anew = true;
        }
        let verdict = verdict?;
        self.faults = 0;
        self.young.count(frame);
        let mut found = std::mem::take(&mut self.unsaid);
        found.extend(self.name(of, frame, verdict, false));
        Ok(found)
    }

    /// Gives a new instance back what was saved of the series that are open. False when it fell
    /// over it.
    async fn recall(
        &self,
        handle: &DetectorHandle,
        of: Subject<'_>,
        memory: &Memory,
        recalled: &mut Recalled,
    ) -> bool {
        let mut next = Some(Place::default());
        while let Some(place) = next {
            let page = match memory.page(of.signal, &place).await {
                Ok(page) => page,
                Err(error) => {
                    recalled.refuse(1, error.to_string());
                    return true;
                }
            };
            let mut saved = Vec::new();
            for kept in page.rows {
                let id = kept
                    .series
                    .as_ref()
                    .map(|(target, labels)| of.table.id(target, labels));
                if kept.detector == self.config.name
                    && kept.settings == self.settings
                    && id != Some(None)
                {
                    saved.push((id.flatten(), kept));
                }
            }
            if !give_back(handle, saved, recalled).await {
                return false;
            }
            next = page.next;
        }
        true
    }

    /// Gives another version what this one knows. False when it fell over it.
    async fn hand_over(
        &mut self,
        handle: &DetectorHandle,
        of: Subject<'_>,
        recalled: &mut Recalled,
    ) -> bool {
        let id = |kept: &Kept| {
            kept.series
                .as_ref()
                .and_then(|(target, labels)| of.table.id(target, labels))
        };
        let ids = of.table.ids();
        for some in ids.chunks(SAVED_AT_ONCE) {
            let kept = self
                .save(of.table, some)
                .await
                .into_iter()
                .map(|kept| (id(&kept), kept))
                .collect();
            if !give_back(handle, kept, recalled).await {
                return false;
            }
        }
        if let Some(why) = &self.not_saved {
            recalled.refuse(
                ids.len() - recalled.series.len(),
                format!("it could not be saved: {why}"),
            );
        }
        true
    }

    /// Whether its series may share something.
    pub(super) async fn shares(&self) -> bool {
        if !self.handle.is_stateful() || self.anew {
            return true;
        }
        self.shares
            && !matches!(
                self.handle.save(vec![None]).await.as_deref(),
                Ok([Ok(None)])
            )
    }

    /// Remembers what became of what was saved, for the status.
    pub(super) fn note(&mut self, recalled: &Recalled) {
        self.restored = recalled.series.len();
        self.not_restored = recalled
            .why
            .as_ref()
            .map(|why| format!("{} of its series: {why}", recalled.refused));
        if let Some(why) = &self.not_restored {
            tracing::warn!(
                detector = self.config.name,
                why,
                "not all that was saved could be restored"
            );
        }
    }

    /// Opens series with what was saved of them. False when the detector was lost over it: then it
    /// is a new one, which knows nothing.
    pub(super) async fn restore(
        &mut self,
        kept: Vec<(Option<u32>, Kept)>,
        recalled: &mut Recalled,
    ) -> bool {
        let stands = give_back(&self.handle, kept, recalled).await;
        self.faults += u32::from(!stands);
        stands
    }

    /// Tells a detector that begins anew the past of its series, those that were `recalled` only
    /// what came since. Answers what it found there, and in which series it does not know any more
    /// of what went on.
    pub(super) async fn learn(
        &mut self,
        of: Subject<'_>,
        history: &History,
        recalled: &Recalled,
    ) -> Result<(Vec<Named>, Vec<u32>), PluginError> {
        let frame = Arc::new(history.frame(&recalled.series));
        self.anew = true;
        let verdict = tell(&self.handle, &frame).await?;
        self.anew = false;
        self.young.begin_anew(&recalled.young);
        self.young.take(&frame);
        Ok(self.sift(of, &frame, verdict))
    }

    /// Makes findings of what it said of the past. What began and ended in it is history and says
    /// nothing; what goes on at its end counts from now on.
    fn sift(&mut self, of: Subject<'_>, frame: &Frame, verdict: Verdict) -> (Vec<Named>, Vec<u32>) {
        let mut open: HashSet<u32> = self.onsets.keys().copied().collect();
        let mut found = Vec::new();
        let mut going_on: BTreeMap<u32, (Target, Finding)> = BTreeMap::new();
        for (id, target, finding) in self.name(of, frame, verdict, true) {
            match finding.phase {
                Phase::Clear => {
                    let was_open = open.remove(&id);
                    if going_on.remove(&id).is_none() || was_open {
                        found.push((id, target, finding));
                    }
                }
                Phase::Onset | Phase::Ongoing => drop(going_on.insert(id, (target, finding))),
            }
        }
        let announced = frame.opened.iter().map(|(id, _)| *id);
        let unknown = announced
            .filter(|id| open.contains(id) && !going_on.contains_key(id))
            .collect();
        // What went on before was told.
        let new = going_on.into_iter().filter(|(id, _)| !open.contains(id));
        found.extend(new.map(|(id, (target, finding))| (id, target, finding)));
        (found, unknown)
    }

    /// What is to be kept of these series. A detector that fails at it is not asked again.
    pub(super) async fn save(&mut self, table: &SeriesTable, ids: &[u32]) -> Vec<Kept> {
        let mut kept = Vec::new();
        if !self.handle.is_stateful() || self.not_saved.is_some() || self.anew {
            return kept;
        }
        let mut wanted: Vec<Option<u32>> = self.shares.then_some(None).into_iter().collect();
        wanted.extend(
            ids.iter()
                .copied()
                .filter(|id| table.watermark(*id).is_some())
                .map(Some),
        );
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let answers = match self.handle.save(rest.to_vec()).await {
                Ok(answers) if !answers.is_empty() => answers,
                Ok(_) => break,
                Err(error) => {
                    // Lost before: no fault of its saving.
                    if error.lost_instance() && !matches!(error, PluginError::Lost(_)) {
                        tracing::warn!(detector = self.config.name, %error, "a detector is not saved any more");
                        self.not_saved = Some(error.to_string());
                    }
                    break;
                }
            };
            let (done, left) = rest.split_at(answers.len().min(rest.len()));
            rest = left;
            for (of, answer) in done.iter().zip(answers) {
                let saved = match answer {
                    Ok(saved) => saved,
                    Err(error) => {
                        tracing::debug!(detector = self.config.name, series = of, %error, "a series is not saved");
                        None
                    }
                };
                match of {
                    Some(id) => kept.extend(self.kept(table, *id, saved)),
                    None => match saved {
                        Some(saved) => kept.push(self.row(None, UnixMs::MIN, None, Some(saved))),
                        None => self.shares = false,
                    },
                }
            }
        }
        kept
    }

    fn kept(&self, table: &SeriesTable, id: u32, saved: Option<Vec<u8>>) -> Option<Kept> {
        let (target, labels) = table.get(id)?;
        let series = (target.clone(), labels.clone());
        let kept = self.row(
            Some(series),
            table.watermark(id)?,
            self.onsets.get(&id).cloned(),
            saved,
        );
        Some(Kept {
            seen: self.young.seen(id),
            ..kept
        })
    }

    fn row(
        &self,
        series: Option<(Target, Labels)>,
        watermark: UnixMs,
        onset: Option<Onset>,
        saved: Option<Vec<u8>>,
    ) -> Kept {
        Kept {
            series,
            detector: self.config.name.clone(),
            settings: self.settings,
            version: self.handle.version().to_owned(),
            digest: self.handle.digest().to_owned(),
            watermark,
            seen: None,
            onset,
            saved,
        }
    }

    /// Goes on with the version that is live now. It is given what this one knows, and told the
    /// rest of the past that is at hand. With an error this one goes on.
    pub(super) async fn swap(
        &mut self,
        of: Subject<'_>,
        now: UnixMs,
        means: Means<'_>,
    ) -> Result<Vec<Named>, PluginError> {
        let handle = open_instance(means.plugins, &self.config).await?;
        let (mut recalled, mut stands) = (Recalled::default(), true);
        match means.memory {
            _ if !handle.is_stateful() => {}
            // This one is lost: what was saved before is all that there is.
            Some(memory) if self.anew => {
                stands = self.recall(&handle, of, memory, &mut recalled).await
            }
            _ => stands = self.hand_over(&handle, of, &mut recalled).await,
        }
        let history = of.table.kept(&Frame {
            now,
            ..Frame::default()
        });
        let frame = Arc::new(history.frame(&recalled.series));
        let verdict = tell(&handle, &frame).await?;
        tracing::info!(
            signal = of.signal,
            detector = handle.name(),
            version = handle.version(),
            plugin.digest = handle.digest(),
            before = self.handle.version(),
            restored = recalled.series.len(),
            "another version of a detector took over"
        );
        self.young = Young::new(handle.min_samples());
        self.young.begin_anew(&recalled.young);
        self.young.take(&frame);
        self.handle = handle;
        (self.anew, self.faults, self.shares, self.not_saved) =
            (false, u32::from(!stands), true, None);
        self.note(&recalled);
        let mut found = std::mem::take(&mut self.unsaid);
        let (learnt, unknown) = self.sift(of, &frame, verdict);
        found.extend(learnt);
        found.extend(self.end_all(of, &unknown, now, BEGAN_ANEW));
        Ok(found)
    }

    /// Makes findings of what it said. Told `again`, the onset of an anomaly that is known begins
    /// none.
    fn name(
        &mut self,
        of: Subject<'_>,
        frame: &Frame,
        verdict: Verdict,
        again: bool,
    ) -> Vec<Named> {
        let mut named = Vec::with_capacity(verdict.findings.len());
        for raw in verdict.findings {
            let index = raw.sample as usize;
            let (Some(&id), Some(&at)) = (frame.ids.get(index), frame.at.get(index)) else {
                continue;
            };
            let Some((target, labels)) = of.table.get(id) else {
                continue;
            };
            let onset = match (raw.phase, self.onsets.remove(&id)) {
                (Phase::Onset, Some(known)) if again => known,
                (Phase::Ongoing | Phase::Clear, Some(known)) => known,
                (Phase::Onset, _) | (_, None) => Onset {
                    at,
                    finding: self.finding_id(of.signal, target, labels, at),
                },
            };
            if raw.phase != Phase::Clear {
                self.onsets.insert(id, onset.clone());
            }
            let finding = Finding {
                phase: raw.phase,
                direction: raw.direction,
                score: raw.score,
                severity: raw.severity,
                observed: frame.values.get(index).copied(),
                expected: raw.expected,
                ..self.over(of, labels, onset, at, raw.reason)
            };
            named.push((id, target.clone(), finding));
        }
        named
    }

    /// What goes on in a series ends with it.
    pub(super) fn ended(&mut self, of: Subject<'_>, frame: &Frame) -> Vec<Named> {
        self.end_all(of, &frame.closed, frame.now, "the series ended")
    }

    /// Ends all that goes on: it watches no more.
    pub(super) fn end_everything(
        &mut self,
        of: Subject<'_>,
        at: UnixMs,
        reason: &str,
    ) -> Vec<Named> {
        let mut ids: Vec<u32> = self.onsets.keys().copied().collect();
        ids.sort_unstable();
        self.end_all(of, &ids, at, reason)
    }

    fn end_all(&mut self, of: Subject<'_>, ids: &[u32], at: UnixMs, reason: &str) -> Vec<Named> {
        ids.iter()
            .filter_map(|id| self.end(of, *id, at, reason))
            .collect()
    }

    /// Ends what goes on in a series, though the detector said nothing.
    fn end(&mut self, of: Subject<'_>, id: u32, at: UnixMs, reason: &str) -> Option<Named> {
        let onset = self.onsets.remove(&id)?;
        let (target, labels) = of.table.get(id)?;
        Some((
            id,
            target.clone(),
            self.over(of, labels, onset, at, reason.to_owned()),
        ))
    }

    /// That what began is over.
    fn over(
        &self,
        of: Subject<'_>,
        labels: &Labels,
        onset: Onset,
        at: UnixMs,
        reason: String,
    ) -> Finding {
        Finding {
            id: onset.finding,
            signal: of.signal.to_owned(),
            meaning: of.meaning,
            labels: labels.clone(),
            detector: self.handle.name().to_owned(),
            detector_digest: self.handle.digest().to_owned(),
            onset_at: onset.at,
            at,
            phase: Phase::Clear,
            direction: Direction::Shape,
            score: 0.0,
            severity: 0.0,
            observed: None,
            expected: None,
            reason,
        }
    }

    fn finding_id(
        &self,
        signal: &str,
        target: &Target,
        labels: &Labels,
        onset: UnixMs,
    ) -> FindingId {
        FindingId::derive(&[
            signal,
            &target.key(),
            &labels.to_string(),
            self.handle.digest(),
            &onset.to_string(),
        ])
    }
}

async fn open_instance(
    plugins: &Plugins,
    config: &DetectorConfig,
) -> Result<DetectorHandle, PluginError> {
    plugins
        .detector(
            &config.name,
            &serde_json::Value::Object(config.settings.clone()),
        )
        .await
}

/// Shows the past to an instance, if there is any.
async fn tell(handle: &DetectorHandle, past: &Arc<Frame>) -> Result<Verdict, PluginError> {
    match past.opened.is_empty() && past.is_empty() {
        true => Ok(Verdict::default()),
        false => handle.observe(Arc::clone(past), false).await,
    }
}
