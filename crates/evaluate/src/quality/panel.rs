//! Panels of scored files.

use super::scorer::Judged;
use anomalyzer_domain::{Phase, Sample, UnixMs};
use anomalyzer_plot::{Expected, Mark, Panel};

/// Builds the panel of a file from its samples and the verdicts of a detector.
pub fn panel_of_samples(
    title: String,
    samples: &[Sample],
    judged: &Judged,
    labels: Vec<(UnixMs, UnixMs)>,
) -> Panel {
    let mut panel = Panel {
        title,
        labels,
        ..Panel::default()
    };
    for (Sample { at, value }, verdict) in samples.iter().copied().zip(judged.verdicts()) {
        panel.points.push((at, value));
        // A range lasts until the following sample, so that the range of a single sample is
        // visible.
        if let Some(last) = panel
            .expected
            .last_mut()
            .filter(|last| last.to == UnixMs::MAX)
        {
            last.to = at;
            if Some(last.range) == verdict.expected && verdict.phase != Some(Phase::Onset) {
                last.to = UnixMs::MAX;
            }
        }
        let goes_on = panel
            .expected
            .last()
            .is_some_and(|last| last.to == UnixMs::MAX);
        if let Some(range) = verdict.expected.filter(|_| !goes_on) {
            panel.expected.push(Expected {
                from: at,
                to: UnixMs::MAX,
                range,
            });
        }
        if matches!(verdict.phase, Some(Phase::Onset | Phase::Clear)) {
            panel.marks.push(Mark {
                at,
                value,
                over: verdict.phase == Some(Phase::Clear),
            });
        }
    }
    if let (Some(last), Some((at, _))) = (panel.expected.last_mut(), panel.points.last()) {
        last.to = last.to.min(*at);
    }
    panel
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Direction, Range};
    use anomalyzer_plugin_host::RawFinding;

    fn finding(phase: Phase, low: f64) -> RawFinding {
        RawFinding {
            sample: 0,
            phase,
            direction: Direction::Above,
            score: 1.0,
            severity: 1.0,
            expected: Some(Range {
                low: Some(low),
                high: None,
            }),
            reason: String::new(),
        }
    }

    #[test]
    fn a_range_lasts_from_the_onset_to_the_sample_after_the_end() {
        let sample = |n: i64| Sample {
            at: n * 1000,
            value: n as f64,
        };
        let samples: Vec<Sample> = (0..8).map(sample).collect();
        let findings = [
            (1, Phase::Onset, 1.0),
            (3, Phase::Ongoing, 2.0),
            (4, Phase::Clear, 2.0),
            (7, Phase::Onset, 3.0),
        ];
        let findings = findings.map(|(row, phase, low)| (row, finding(phase, low)));
        let judged = Judged {
            scores: vec![0.0; 8],
            findings: findings.into(),
        };
        let panel = panel_of_samples("t".to_owned(), &samples, &judged, vec![]);
        let spans: Vec<_> = panel
            .expected
            .iter()
            .map(|e| (e.from, e.to, e.range.low))
            .collect();
        assert_eq!(
            spans,
            [
                (1000, 3000, Some(1.0)),
                (3000, 5000, Some(2.0)),
                (7000, 7000, Some(3.0))
            ]
        );
        let marks: Vec<_> = panel
            .marks
            .iter()
            .map(|mark| (mark.at, mark.over))
            .collect();
        assert_eq!(marks, [(1000, false), (4000, true), (7000, false)]);
        assert_eq!(panel.points.len(), 8);
    }
}
