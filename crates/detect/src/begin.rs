//! How a signal begins: what was saved of its series is restored, then what came since is filled
//! in, then it goes on.

use super::detector::{Detector, Named, Subject};
use super::engine::Backfill;
use super::incidents::IncidentBook;
use super::keeping::Keeping;
use super::memory::{Memory, Onset, Place};
use super::recalled::Recalled;
use super::watched::Watched;
use anomalyzer_domain::UnixMs;

/// The clocks of two producers may differ by that much. What was saved with times beyond it would
/// silence the series.
const AHEAD_MS: i64 = 60 * 60 * 1000;

/// The first samples of a signal since the start, or since its last series ended.
pub(super) struct Beginning<'a> {
    pub(super) signal: &'a str,
    /// Of the oldest sample that arrived.
    pub(super) first: UnixMs,
    /// Of the newest batch.
    pub(super) now: UnixMs,
}

impl Beginning<'_> {
    /// Restores what was saved, and what is known of open incidents. Answers what was restored, for
    /// each detector.
    pub(super) async fn recall(
        &self,
        watched: &mut Watched,
        keeping: Option<&Keeping>,
        book: &IncidentBook,
    ) -> Vec<Recalled> {
        let mut recalled: Vec<Recalled> = watched
            .detectors
            .iter()
            .map(|_| Recalled::default())
            .collect();
        if let Some(keeping) = keeping {
            self.restore(watched, &keeping.memory, &mut recalled).await;
        }
        for (detector, recalled) in watched.detectors.iter_mut().zip(&recalled) {
            detector.note(recalled);
            // What goes on keeps its id, also where the detector finds it again by itself.
            for (target, finding) in book.inherited(self.signal, &detector.config.name) {
                if let Some((id, _)) =
                    watched
                        .table
                        .recall(&target, &finding.labels, UnixMs::MIN, self.now)
                {
                    detector.recall_onset(
                        id,
                        Onset {
                            at: finding.onset_at,
                            finding: finding.id,
                        },
                    );
                }
            }
        }
        recalled
    }

    async fn restore(&self, watched: &mut Watched, memory: &Memory, recalled: &mut [Recalled]) {
        let (mut next, mut damaged) = (Some(Place::default()), 0);
        let mut lost = vec![false; recalled.len()];
        while let Some(place) = next {
            let page = match memory.page(self.signal, &place).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(signal = self.signal, %error, "what detectors knew is not read");
                    watched.status.not_saved = Some(error.to_string());
                    break;
                }
            };
            damaged += page.damaged;
            let mut lots: Vec<Vec<_>> = recalled.iter().map(|_| Vec::new()).collect();
            for kept in page.rows {
                let fits = |detector: &Detector| {
                    detector.config.name == kept.detector && detector.settings == kept.settings
                };
                let Some(index) = watched.detectors.iter().position(fits) else {
                    continue;
                };
                let Some((target, labels)) = &kept.series else {
                    lots[index].push((None, kept));
                    continue;
                };
                if kept.watermark > self.now.saturating_add(AHEAD_MS) {
                    recalled[index].refuse(1, "its samples are from the future");
                    continue;
                }
                match watched
                    .table
                    .recall(target, labels, kept.watermark, self.now)
                {
                    Some((id, watermark)) if watermark == kept.watermark => {
                        if let Some(onset) = &kept.onset {
                            watched.detectors[index].recall_onset(id, onset.clone());
                        }
                        lots[index].push((Some(id), kept));
                    }
                    _ => recalled[index].refuse(
                        1,
                        "it was saved at another time than the rest of the series",
                    ),
                }
            }
            for (index, lot) in lots.into_iter().enumerate() {
                if !lost[index] {
                    lost[index] = !watched.detectors[index]
                        .restore(lot, &mut recalled[index])
                        .await;
                }
            }
            next = page.next;
        }
        for (index, recalled) in recalled.iter_mut().enumerate() {
            let Detector { config, .. } = &watched.detectors[index];
            let same: Vec<_> = watched
                .detectors
                .iter()
                .filter(|d| d.config.name == config.name)
                .collect();
            let settings: Vec<_> = same.iter().map(|detector| detector.settings).collect();
            match memory
                .forget_other_settings(self.signal, &config.name, &settings)
                .await
            {
                Ok(rows) => recalled.refuse(rows as usize, "it was saved under other settings"),
                Err(error) => {
                    tracing::warn!(signal = self.signal, %error, "what was saved under other settings stays")
                }
            }
            recalled.refuse(damaged, "it is damaged");
        }
    }

    /// Fills in what is missing. Answers what goes on at its end, and what ended in it.
    pub(super) async fn fill(
        &self,
        watched: &mut Watched,
        recalled: &[Recalled],
        backfill: Option<&dyn Backfill>,
    ) -> Vec<Named> {
        let wanted = watched
            .detectors
            .iter()
            .map(Detector::history_ms)
            .max()
            .unwrap_or(0);
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let to = self.first.saturating_sub(1);
        let from = self
            .missing_since(watched, recalled)
            .max(self.first.saturating_sub(wanted));
        let past = match backfill {
            Some(backfill) if from <= to => backfill
                .history(self.signal, from, to)
                .await
                .unwrap_or_default(),
            _ => vec![],
        };
        let series = past.len();
        let history = watched.table.fill(past, to);
        let mut found = Vec::new();
        for (detector, recalled) in watched.detectors.iter_mut().zip(recalled) {
            let of = Subject {
                signal: self.signal,
                meaning: watched.meaning,
                table: &watched.table,
            };
            match detector.learn(of, &history, recalled).await {
                // Of those that it does not know of any more the book of incidents knows when to
                // give them up.
                Ok((named, unknown)) => {
                    found.extend(named);
                    detector.forget_onsets(&unknown);
                }
                Err(error) => {
                    // It is opened anew with the next frame.
                    tracing::warn!(signal = self.signal, detector = detector.config.name, %error, "the past is not learnt");
                    watched.status.problem = Some(error.to_string());
                }
            }
        }
        let restored = recalled
            .iter()
            .map(|recalled| recalled.series.len())
            .max()
            .unwrap_or(0);
        tracing::info!(signal = self.signal, series, restored, "begins");
        found
    }

    /// From when on the past is of use to some detector.
    fn missing_since(&self, watched: &Watched, recalled: &[Recalled]) -> UnixMs {
        let ids = watched.table.ids();
        let complete = |recalled: &Recalled| {
            recalled.refused == 0 && ids.iter().all(|id| recalled.series.contains_key(id))
        };
        if ids.is_empty() || !recalled.iter().all(complete) {
            return UnixMs::MIN;
        }
        let watermarks = recalled
            .iter()
            .flat_map(|recalled| recalled.series.values());
        watermarks
            .min()
            .map_or(UnixMs::MIN, |oldest| oldest.saturating_add(1))
    }
}
