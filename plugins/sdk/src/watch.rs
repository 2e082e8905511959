//! Adapter from the contract to a detector, for the series of one signal: unpacks frames, packs
//! verdicts.

use crate::bindings::detector::exports::anomalyzer::plugin::detector as wit;
use crate::series_table::SeriesTable;
use crate::{
    Change, Detector, Direction, Error, Frame, Phase, StatefulDetector, Verdict, parse, saved,
};

/// Implementation of the contract's `monitor`. Native code (tests, benchmarks) can use it as well.
pub struct Watch<D: Detector> {
    detector: D,
    table: SeriesTable<D::Series>,
}

impl<D: Detector> Watch<D> {
    /// Opens the detector with settings as JSON.
    pub fn open(settings: &str) -> Result<Self, Error> {
        Ok(Self {
            detector: D::open(parse::settings(settings)?)?,
            table: SeriesTable::new(),
        })
    }

    /// Passes a frame to the detector, sample by sample. Returns an error if the frame breaks the
    /// contract (columns of different length, a sample of a series that is not open). The samples
    /// before the broken sample count.
    pub fn observe(&mut self, frame: &Frame, want_scores: bool) -> Result<Verdict, Error> {
        let length = frame.ids.len();
        if frame.at.len() != length || frame.values.len() != length {
            return Err(Error::Failed(format!(
                "the columns of the frame differ in length: {length} ids, {} times, {} values",
                frame.at.len(),
                frame.values.len()
            )));
        }
        for opened in &frame.opened {
            self.table
                .open(opened.id, self.detector.series(&opened.labels))
                .map_err(Error::Failed)?;
        }
        // There are two loops. If nobody asks for scores, the compiler leaves out the work that a
        // detector does only for them.
        let seen = if want_scores {
            self.look::<true>(frame)
        } else {
            self.look::<false>(frame)
        };
        let verdict = seen.map_err(Error::Failed)?;
        for &id in &frame.closed {
            self.table.close(id);
        }
        Ok(verdict)
    }

    #[inline]
    fn look<const SCORES: bool>(&mut self, frame: &Frame) -> Result<Verdict, String> {
        let mut scores = Vec::with_capacity(if SCORES { frame.ids.len() } else { 0 });
        let mut findings = Vec::new();
        let columns = frame.ids.iter().zip(&frame.at).zip(&frame.values);
        for (sample, ((&id, &at), &value)) in columns.enumerate() {
            let Some(series) = self.table.get(id) else {
                return Err(format!(
                    "sample {sample} is of series {id}, which is not open"
                ));
            };
            let seen = self.detector.observe(series, at, value);
            if SCORES {
                scores.push(bounded(seen.score));
            }
            if let Some(change) = seen.change {
                findings.push(finding(sample as u32, seen.score, *change));
            }
        }
        Ok(Verdict { scores, findings })
    }
}

impl<D: StatefulDetector> Watch<D> {
    /// Returns the saved state of a series. Without a series, returns [`Error::Unsupported`],
    /// because series share nothing.
    pub fn save(&self, of: Option<u32>) -> Result<Vec<u8>, Error> {
        let id = of.ok_or_else(nothing_shared)?;
        let series = self
            .table
            .peek(id)
            .ok_or_else(|| Error::Failed(format!("series {id} is not open")))?;
        saved::write(D::about().name, D::LAYOUT, series)
    }

    /// Opens a series with its saved state. If the state is refused, the series stays closed.
    pub fn restore(
        &mut self,
        of: Option<wit::Series>,
        from_version: &str,
        saved: &[u8],
    ) -> Result<(), Error> {
        let opened = of.ok_or_else(nothing_shared)?;
        let saved = saved::open(D::about().name, from_version, saved)?;
        let series = self.detector.restore(&opened.labels, &saved)?;
        self.table.open(opened.id, series).map_err(Error::Failed)
    }
}

fn nothing_shared() -> Error {
    Error::Unsupported("the series share nothing".to_owned())
}

/// Bounds a score to the contract, which requires it to be finite and not negative. NaN becomes 0.
#[inline]
fn bounded(score: f64) -> f64 {
    if score > 0.0 {
        score.min(f64::MAX)
    } else {
        0.0
    }
}

#[cold]
fn finding(sample: u32, score: f64, change: Change) -> wit::Finding {
    wit::Finding {
        sample,
        phase: match change.phase {
            Phase::Onset => wit::Phase::Onset,
            Phase::Ongoing => wit::Phase::Ongoing,
            Phase::Clear => wit::Phase::Clear,
        },
        direction: match change.direction {
            Direction::Above => wit::Direction::Above,
            Direction::Below => wit::Direction::Below,
            Direction::Shape => wit::Direction::Shape,
        },
        score: bounded(score),
        severity: bounded(change.severity),
        expected: change.expected,
        reason: change.reason,
    }
}
