//! Runs the samples of one file through one detector.

use anomalyzer_domain::{Labels, Phase, Range, Sample};
use anomalyzer_plugin_host::{DetectorInstance, Frame, PluginError, RawFinding};

/// Maximum number of samples in a frame. The borders of frames have no influence on the result, and
/// large frames cost least.
const FRAME: usize = 4096;

/// Verdicts of a detector on the samples of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Scores by sample.
    pub scores: Vec<f64>,
    /// Findings with the indices of their samples, in ascending order.
    pub findings: Vec<(usize, RawFinding)>,
}

/// Verdict on one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleVerdict {
    /// Score of this sample. The threshold of the detector is 1.
    pub score: f64,
    /// Severity of the anomaly's newest finding while the anomaly lasts, else 0.
    pub severity: f64,
    /// Newest expected range of the anomaly's findings, from its onset to the sample at which it
    /// is over.
    pub expected: Option<Range>,
    /// Phase of the anomaly: onset, then ongoing on every later sample, and clear on the sample
    /// at which it is over. `None` without an anomaly.
    pub phase: Option<Phase>,
}

/// Feeds the samples of one series to a fresh detector. They are finite and in ascending order of
/// time, as in the service. The time of a frame is that of its last sample.
///
/// # Errors
/// Returns an error if the detector failed.
pub fn judge(
    monitor: &mut DetectorInstance,
    name: &str,
    samples: &[Sample],
) -> Result<Judged, PluginError> {
    let mut judged = Judged::default();
    let mut frame = Frame {
        opened: vec![(0, Labels::new([("__name__", name)]))],
        ..Frame::default()
    };
    for samples in samples.chunks(FRAME) {
        for Sample { at, value } in samples {
            frame.now = *at;
            frame.push(0, *at, *value);
        }
        judged.show(monitor, &mut frame)?;
    }
    Ok(judged)
}

impl Judged {
    /// Returns the verdicts of a detector that finds nothing.
    pub fn calm(samples: &[Sample]) -> Self {
        Self {
            scores: vec![0.0; samples.len()],
            findings: Vec::new(),
        }
    }

    fn show(
        &mut self,
        monitor: &mut DetectorInstance,
        frame: &mut Frame,
    ) -> Result<(), PluginError> {
        let verdict = monitor.observe(frame, true)?;
        let first = self.scores.len();
        self.scores.extend(verdict.scores);
        let findings = verdict.findings.into_iter();
        self.findings
            .extend(findings.map(|finding| (first + finding.sample as usize, finding)));
        frame.clear();
        Ok(())
    }

    /// Returns the verdict on each sample in order.
    pub fn verdicts(&self) -> impl Iterator<Item = SampleVerdict> {
        let mut findings = self.findings.iter().peekable();
        let mut anomaly: Option<(f64, Option<Range>)> = None;
        self.scores.iter().enumerate().map(move |(sample, score)| {
            let calm = SampleVerdict {
                score: *score,
                severity: 0.0,
                expected: None,
                phase: None,
            };
            let Some((_, finding)) = findings.next_if(|(of, _)| *of == sample) else {
                let Some((severity, expected)) = anomaly else {
                    return calm;
                };
                return SampleVerdict {
                    severity,
                    expected,
                    phase: Some(Phase::Ongoing),
                    ..calm
                };
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
            SampleVerdict {
                severity,
                expected,
                phase: Some(finding.phase),
                ..calm
            }
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
    fn a_sample_says_what_goes_on() {
        let judged = Judged {
            scores: vec![0.1, 2.0, 0.2, 3.0, 0.3, 0.4, 1.5],
            findings: vec![
                (1, finding(Phase::Onset, 2.0, Some(5.0))),
                (3, finding(Phase::Ongoing, 3.0, None)),
                (4, finding(Phase::Clear, 0.3, Some(6.0))),
                (6, finding(Phase::Onset, 1.5, None)),
            ],
        };
        let all: Vec<_> = judged.verdicts().collect();
        let verdict = |score, severity, high: Option<f64>, phase| SampleVerdict {
            score,
            severity,
            expected: high.map(|high| Range {
                low: None,
                high: Some(high),
            }),
            phase,
        };
        let expected = [
            verdict(0.1, 0.0, None, None),
            verdict(2.0, 2.0, Some(5.0), Some(Phase::Onset)),
            verdict(0.2, 2.0, Some(5.0), Some(Phase::Ongoing)),
            verdict(3.0, 3.0, Some(5.0), Some(Phase::Ongoing)),
            verdict(0.3, 0.0, Some(6.0), Some(Phase::Clear)),
            verdict(0.4, 0.0, None, None),
            verdict(1.5, 1.5, None, Some(Phase::Onset)),
        ];
        assert_eq!(all, expected);
    }
}
