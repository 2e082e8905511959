//! Runs the samples of one file through one detector.

use anomalyzer_domain::{Labels, Phase, Range, UnixMs};
use anomalyzer_plugin_host::{DetectorInstance, Frame, PluginError, RawFinding};

/// Maximum number of samples in a frame. The borders of frames have no influence on the result, and
/// large frames cost least.
const FRAME: usize = 4096;

/// Verdicts of a detector on the rows of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Scores by row. Rows that the detector did not see have NaN.
    pub scores: Vec<f64>,
    /// Findings with their rows, in ascending order.
    pub findings: Vec<(usize, RawFinding)>,
}

/// Verdict on one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Score of this sample. The threshold of the detector is 1.
    pub score: f64,
    /// Severity of the anomaly's newest finding while the anomaly lasts, else 0.
    pub severity: f64,
    /// Newest expected range of the anomaly's findings, from its onset to the row at which it is
    /// over.
    pub expected: Option<Range>,
    /// Phase of the anomaly: onset, then ongoing on every later row, and clear on the row at which
    /// it is over. `None` without an anomaly.
    pub phase: Option<Phase>,
}

/// Feeds all samples of one series to a fresh detector. A time of `None` or a value of NaN marks an
/// unreadable field. As in the service, the detector sees neither those samples nor a sample that
/// is not later than its predecessor. The time of a frame is that of its last sample.
///
/// # Errors
/// Returns an error if the detector failed.
pub fn judge(
    monitor: &mut DetectorInstance,
    name: &str,
    samples: impl IntoIterator<Item = (Option<UnixMs>, f64)>,
) -> Result<Judged, PluginError> {
    let mut judged = Judged::default();
    let mut frame = Frame {
        opened: vec![(0, Labels::new([("__name__", name)]))],
        ..Frame::default()
    };
    let mut rows = Vec::with_capacity(FRAME);
    let mut fits = fits();
    for (row, (at, value)) in samples.into_iter().enumerate() {
        judged.scores.push(f64::NAN);
        let Some(at) = fits(at, value) else { continue };
        frame.now = at;
        frame.push(0, at, value);
        rows.push(row);
        if rows.len() == FRAME {
            judged.show(monitor, &mut frame, &mut rows)?;
        }
    }
    if !rows.is_empty() {
        judged.show(monitor, &mut frame, &mut rows)?;
    }
    Ok(judged)
}

/// Returns a filter for the samples of a series, to be called for each of them in order. The filter
/// returns the time of a sample if a detector may see it.
fn fits() -> impl FnMut(Option<UnixMs>, f64) -> Option<UnixMs> {
    let mut last = None;
    move |at, value| {
        let at = at.filter(|at| value.is_finite() && last.is_none_or(|last| *at > last))?;
        last = Some(at);
        Some(at)
    }
}

impl Judged {
    /// Returns the verdicts of a detector that finds nothing.
    pub fn calm(samples: impl IntoIterator<Item = (Option<UnixMs>, f64)>) -> Self {
        let mut fits = fits();
        let score = |(at, value)| {
            if fits(at, value).is_some() {
                0.0
            } else {
                f64::NAN
            }
        };
        Self {
            scores: samples.into_iter().map(score).collect(),
            findings: Vec::new(),
        }
    }

    fn show(
        &mut self,
        monitor: &mut DetectorInstance,
        frame: &mut Frame,
        rows: &mut Vec<usize>,
    ) -> Result<(), PluginError> {
        let verdict = monitor.observe(frame, true)?;
        for (row, score) in rows.iter().zip(verdict.scores) {
            self.scores[*row] = score;
        }
        self.findings.extend(
            verdict
                .findings
                .into_iter()
                .map(|finding| (rows[finding.sample as usize], finding)),
        );
        frame.clear();
        rows.clear();
        Ok(())
    }

    /// Returns the verdict on each row in order, or `None` for rows that the detector did not see.
    pub fn rows(&self) -> impl Iterator<Item = Option<Said>> {
        let mut findings = self.findings.iter().peekable();
        let mut anomaly: Option<(f64, Option<Range>)> = None;
        self.scores.iter().enumerate().map(move |(row, score)| {
            if score.is_nan() {
                return None;
            }
            let calm = Said {
                score: *score,
                severity: 0.0,
                expected: None,
                phase: None,
            };
            let Some((_, finding)) = findings.next_if(|(of, _)| *of == row) else {
                let Some((severity, expected)) = anomaly else {
                    return Some(calm);
                };
                return Some(Said {
                    severity,
                    expected,
                    phase: Some(Phase::Ongoing),
                    ..calm
                });
            };
            let before = anomaly
                .take()
                .filter(|_| finding.phase != Phase::Onset)
                .and_then(|(_, expected)| expected);
            let expected = finding.expected.or(before);
            let over = finding.phase == Phase::Clear;
            if !over {
                anomaly = Some((finding.severity, expected));
            }
            let severity = if over { 0.0 } else { finding.severity };
            Some(Said {
                severity,
                expected,
                phase: Some(finding.phase),
                ..calm
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::Direction;

    fn finding(phase: Phase, severity: f64, high: Option<f64>) -> RawFinding {
        RawFinding {
            sample: 0,
            phase,
            direction: Direction::Above,
            score: severity,
            severity,
            expected: high.map(|high| Range {
                low: None,
                high: Some(high),
            }),
            reason: "high".to_owned(),
        }
    }

    #[test]
    fn a_row_says_what_goes_on() {
        let judged = Judged {
            scores: vec![0.1, 2.0, f64::NAN, 0.2, 3.0, 0.3, 0.4, 1.5],
            findings: vec![
                (1, finding(Phase::Onset, 2.0, Some(5.0))),
                (4, finding(Phase::Ongoing, 3.0, None)),
                (5, finding(Phase::Clear, 0.3, Some(6.0))),
                (7, finding(Phase::Onset, 1.5, None)),
            ],
        };
        let rows: Vec<_> = judged.rows().collect();
        let said = |score, severity, high: Option<f64>, phase| {
            Some(Said {
                score,
                severity,
                expected: high.map(|high| Range {
                    low: None,
                    high: Some(high),
                }),
                phase,
            })
        };
        let expected = [
            said(0.1, 0.0, None, None),
            said(2.0, 2.0, Some(5.0), Some(Phase::Onset)),
            None,
            said(0.2, 2.0, Some(5.0), Some(Phase::Ongoing)),
            said(3.0, 3.0, Some(5.0), Some(Phase::Ongoing)),
            said(0.3, 0.0, Some(6.0), Some(Phase::Clear)),
            said(0.4, 0.0, None, None),
            said(1.5, 1.5, None, Some(Phase::Onset)),
        ];
        assert_eq!(rows, expected);
    }
}
