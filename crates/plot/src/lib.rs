//! Draws series as SVG: values, expected ranges, findings and labelled anomalies.

mod axis;
mod chart;
mod downsample;

use anomalyzer_domain::{Decision, Incident, Range, UnixMs};

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
    /// The series of a decision's incident of which the history holds samples, with the range that
    /// was expected when the anomaly began, all along.
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
