//! Findings of a detector: the onset, the course and the end of each anomaly.

use std::collections::{BTreeMap, HashSet};

use super::{SeriesFinding, SignalDetector};
use crate::context::SignalView;
use crate::state_store::Onset;
use anomalyzer_domain::{Direction, Finding, FindingId, Labels, Phase, Target, UnixMs};
use anomalyzer_plugin_host::{Frame, FrameVerdict};

impl SignalDetector {
    /// Reduces the findings about the past to the changes that count now. An anomaly that began and
    /// ended in the past is dropped. An anomaly that is ongoing at its end is a new finding, unless
    /// it was known before.
    pub(super) fn reduce_past(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
        verdict: FrameVerdict,
    ) -> (Vec<SeriesFinding>, Vec<u32>) {
        let mut known: HashSet<u32> = self.onsets.keys().copied().collect();
        let mut found = Vec::new();
        let mut ongoing: BTreeMap<u32, SeriesFinding> = BTreeMap::new();
        for finding in self.read_verdict(of, frame, verdict, true) {
            let series = finding.series;
            match finding.finding.phase {
                Phase::Clear => {
                    let was_known = known.remove(&series);
                    if ongoing.remove(&series).is_none() || was_known {
                        found.push(finding);
                    }
                }
                Phase::Onset | Phase::Ongoing => {
                    ongoing.insert(series, finding);
                }
            }
        }
        let announced = frame.opened.iter().map(|(id, _)| *id);
        let unknown = announced
            .filter(|id| known.contains(id) && !ongoing.contains_key(id))
            .collect();
        let new = ongoing.into_values();
        found.extend(new.filter(|finding| !known.contains(&finding.series)));
        (found, unknown)
    }

    /// Turns a verdict into findings. If the frame is `replayed`, the onset of a known anomaly
    /// starts no new one.
    pub(super) fn read_verdict(
        &mut self,
        of: SignalView<'_>,
        frame: &Frame,
        verdict: FrameVerdict,
        replayed: bool,
    ) -> Vec<SeriesFinding> {
        let mut found = Vec::with_capacity(verdict.findings.len());
        for raw in verdict.findings {
            let index = raw.sample as usize;
            let (Some(&id), Some(&at)) = (frame.ids.get(index), frame.at.get(index)) else {
                continue;
            };
            let Some((target, labels)) = of.table.get(id) else {
                continue;
            };
            let onset = match (raw.phase, self.onsets.remove(&id)) {
                (Phase::Onset, Some(known)) if replayed => known,
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
                ..self.clear(of, labels, onset, at, raw.reason)
            };
            found.push(SeriesFinding {
                series: id,
                target: target.clone(),
                finding,
            });
        }
        found
    }

    /// Ends the ongoing anomalies of the series that the frame closes.
    pub(crate) fn end_closed(&mut self, of: SignalView<'_>, frame: &Frame) -> Vec<SeriesFinding> {
        self.end_series(of, &frame.closed, frame.now, "the series ended")
    }

    /// Ends all ongoing anomalies, because the detector stops.
    pub(crate) fn end_all(
        &mut self,
        of: SignalView<'_>,
        at: UnixMs,
        reason: &str,
    ) -> Vec<SeriesFinding> {
        let mut ids: Vec<u32> = self.onsets.keys().copied().collect();
        ids.sort_unstable();
        self.end_series(of, &ids, at, reason)
    }

    pub(super) fn end_series(
        &mut self,
        of: SignalView<'_>,
        ids: &[u32],
        at: UnixMs,
        reason: &str,
    ) -> Vec<SeriesFinding> {
        ids.iter()
            .filter_map(|id| self.end(of, *id, at, reason))
            .collect()
    }

    /// Ends the ongoing anomaly of a series without a finding of the detector.
    fn end(
        &mut self,
        of: SignalView<'_>,
        id: u32,
        at: UnixMs,
        reason: &str,
    ) -> Option<SeriesFinding> {
        let onset = self.onsets.remove(&id)?;
        let (target, labels) = of.table.get(id)?;
        Some(SeriesFinding {
            series: id,
            target: target.clone(),
            finding: self.clear(of, labels, onset, at, reason.to_owned()),
        })
    }

    /// Returns the finding that an anomaly is over.
    fn clear(
        &self,
        of: SignalView<'_>,
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
