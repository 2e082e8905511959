//! Series drawn as SVG: values, what was expected of them, what was found, and what was wrong
//! indeed.

mod axis;
mod chart;
mod thin;

use crate::domain::{Decision, Incident, Range, UnixMs};

pub use chart::svg;

/// Most panels of one picture: more would be too flat to be read.
pub const MOST_PANELS: usize = 8;

/// One series with all that is drawn about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// By rising time; finite.
    pub points: Vec<(UnixMs, f64)>,
    /// What was expected in that time.
    pub expected: Vec<Expected>,
    /// Where an anomaly begins or ends.
    pub marks: Vec<Mark>,
    /// When something was wrong indeed, as labels say.
    pub labels: Vec<(UnixMs, UnixMs)>,
    /// What was done, and when.
    pub events: Vec<(UnixMs, String)>,
}

/// A range, and from when to when it was expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// From then on.
    pub from: UnixMs,
    /// Up to then.
    pub to: UnixMs,
    /// An end that is missing is infinite.
    pub range: Range,
}

/// A sample that begins or ends an anomaly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// When.
    pub at: UnixMs,
    /// Its value.
    pub value: f64,
    /// Whether it ends there.
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
