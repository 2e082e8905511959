//! Draws series as SVG: values, expected ranges, findings and labelled anomalies.

mod axis;
mod chart;
mod thin;

use super::csv::Row;
use super::judge::Judged;
use crate::domain::{Decision, Incident, Phase, Range, UnixMs};

pub use chart::svg;

/// Maximum number of panels of one picture. More panels would be too flat to be read.
pub const MOST_PANELS: usize = 8;

/// One series with all its annotations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Title above the panel.
    pub title: String,
    /// Finite points in ascending order of time.
    pub points: Vec<(UnixMs, f64)>,
    /// Ranges that were expected.
    pub expected: Vec<Expected>,
    /// Onsets and ends of anomalies.
    pub marks: Vec<Mark>,
    /// Times of the anomalies according to the labels.
    pub labels: Vec<(UnixMs, UnixMs)>,
    /// Actions with their times.
    pub events: Vec<(UnixMs, String)>,
}

/// An expected range, with the time in which it was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Start of the time.
    pub from: UnixMs,
    /// End of the time.
    pub to: UnixMs,
    /// Expected range. A missing end is infinite.
    pub range: Range,
}

/// A sample at which an anomaly begins or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Time of the sample.
    pub at: UnixMs,
    /// Value of the sample.
    pub value: f64,
    /// True if the anomaly ends at the sample.
    pub over: bool,
}

impl Panel {
    /// Builds the panel of a file from the rows that the detector saw and its verdicts.
    pub fn of_rows(
        title: String,
        rows: &[Row<'_>],
        judged: &Judged,
        labels: Vec<(UnixMs, UnixMs)>,
    ) -> Self {
        let mut panel = Self {
            title,
            labels,
            ..Self::default()
        };
        for (Row { at, value, .. }, said) in rows.iter().zip(judged.rows()) {
            let (Some(at), value, Some(said)) = (*at, *value, said) else {
                continue;
            };
            panel.points.push((at, value));
            // A range lasts until the following sample, so that the range of a single sample is
            // visible.
            if let Some(last) = panel
                .expected
                .last_mut()
                .filter(|last| last.to == UnixMs::MAX)
            {
                last.to = at;
                if Some(last.range) == said.expected && said.phase != Some(Phase::Onset) {
                    last.to = UnixMs::MAX;
                }
            }
            let goes_on = panel
                .expected
                .last()
                .is_some_and(|last| last.to == UnixMs::MAX);
            if let Some(range) = said.expected.filter(|_| !goes_on) {
                panel.expected.push(Expected {
                    from: at,
                    to: UnixMs::MAX,
                    range,
                });
            }
            if matches!(said.phase, Some(Phase::Onset | Phase::Clear)) {
                panel.marks.push(Mark {
                    at,
                    value,
                    over: said.phase == Some(Phase::Clear),
                });
            }
        }
        if let (Some(last), Some((at, _))) = (panel.expected.last_mut(), panel.points.last()) {
            last.to = last.to.min(*at);
        }
        panel
    }

    /// Builds the panels of the series of a decision's incident for which the history holds
    /// samples. The range that was expected at the onset covers the whole panel.
    pub fn of_decision(decision: &Decision, incident: &Incident) -> Vec<Self> {
        let decided = (
            decision.decided_at,
            format!("decided: {}", decision.solution),
        );
        let done = decision
            .operations
            .iter()
            .filter_map(|operation| Some((operation.done_at?, operation.kind.clone())));
        let events: Vec<(UnixMs, String)> = [decided].into_iter().chain(done).collect();
        let shown =
            incident
                .findings
                .iter()
                .zip(&incident.samples)
                .filter_map(|(finding, series)| {
                    let samples = series
                        .samples
                        .iter()
                        .filter(|sample| sample.value.is_finite());
                    let points: Vec<(UnixMs, f64)> =
                        samples.map(|sample| (sample.at, sample.value)).collect();
                    let (from, to) = (points.first()?.0, points.last()?.0);
                    let onset = points.iter().find(|(at, _)| *at >= finding.onset_at);
                    Some(Self {
                        title: format!("{}{}: {}", finding.signal, finding.labels, finding.reason),
                        expected: finding
                            .expected
                            .map(|range| Expected { from, to, range })
                            .into_iter()
                            .collect(),
                        marks: onset
                            .map(|(at, value)| Mark {
                                at: *at,
                                value: *value,
                                over: false,
                            })
                            .into_iter()
                            .collect(),
                        events: events
                            .iter()
                            .filter(|(at, _)| (from..=to).contains(at))
                            .cloned()
                            .collect(),
                        points,
                        labels: Vec::new(),
                    })
                });
        shown.take(MOST_PANELS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Direction;
    use crate::plugin::RawFinding;
    use crate::quality::csv::rows;

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
        let text: String = (0..8).map(|n| format!("{n},{n}\n")).collect();
        let rows = rows(&text).unwrap();
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
        let panel = Panel::of_rows("t".to_owned(), &rows, &judged, vec![]);
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
