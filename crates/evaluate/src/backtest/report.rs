//! The report of a backtest, as text for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::data::Recorded;
use anomalyzer_domain::{
    IncidentId, Phase, Target, UnixMs, as_rfc3339, as_rfc3339_option, rfc3339,
};
use anomalyzer_plot::{Expected, MOST_PANELS, Mark, Panel};

const DAY: f64 = 86_400_000.0;
/// Maximum number of incidents in the text.
const MAX_LISTED: usize = 40;

/// The fate of a proposed solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The operation would have been performed.
    Done,
    /// The solution needs no operation.
    Nothing,
    /// A person would have been asked for approval.
    Held,
    /// The operation would have been recorded and not performed.
    Shadowed,
    /// The guard would have refused.
    Denied,
}

/// A solution that would have been tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Time of the decision.
    #[serde(with = "as_rfc3339")]
    pub at: UnixMs,
    /// Name of the solution.
    pub solution: String,
    /// Kind of the operation. None if the solution needs none.
    pub operation: Option<String>,
    /// Outcome of the decision.
    pub outcome: Outcome,
    /// Rule that decided.
    pub rule: String,
    /// Reason that the rule states.
    pub reason: String,
    /// Explanation of the analyst.
    pub why: String,
}

/// An incident that would have been found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incident {
    /// Id of the incident.
    pub id: IncidentId,
    /// Target of the incident.
    pub target: Target,
    /// Time of the opening.
    #[serde(with = "as_rfc3339")]
    pub opened_at: UnixMs,
    /// Time of the clearing. None if the incident was open at the end.
    #[serde(with = "as_rfc3339_option")]
    pub cleared_at: Option<UnixMs>,
    /// Signals with a finding.
    pub signals: Vec<String>,
    /// Reason of the first finding.
    pub reason: String,
    /// Solutions that would have been tried.
    pub tried: Vec<Tried>,
    #[serde(skip)]
    seen: anomalyzer_domain::Incident,
}

impl Incident {
    pub(super) fn new(incident: &anomalyzer_domain::Incident) -> Self {
        Self {
            id: incident.id.clone(),
            target: incident.target.clone(),
            opened_at: incident.opened_at,
            cleared_at: None,
            signals: vec![],
            reason: incident
                .findings
                .first()
                .map(|finding| finding.reason.clone())
                .unwrap_or_default(),
            tried: vec![],
            seen: incident.clone(),
        }
    }

    pub(super) fn see(&mut self, incident: &anomalyzer_domain::Incident) {
        self.cleared_at = incident.cleared_at;
        for finding in &incident.findings {
            if !self.signals.contains(&finding.signal) {
                self.signals.push(finding.signal.clone());
            }
        }
        self.seen = incident.clone();
    }
}

/// Counts of one solution.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Count {
    /// Number of proposals.
    pub proposed: usize,
    /// Number of proposals by outcome.
    pub outcomes: BTreeMap<Outcome, usize>,
}

/// The result of a backtest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Time of the first sample.
    #[serde(with = "as_rfc3339")]
    pub from: UnixMs,
    /// Time of the last sample.
    #[serde(with = "as_rfc3339")]
    pub to: UnixMs,
    /// Number of days covered by samples.
    pub days: f64,
    /// Number of series.
    pub series: usize,
    /// Number of samples.
    pub samples: usize,
    /// Number of incidents per day.
    pub incidents_a_day: f64,
    /// Number of operations per day that would have changed a target.
    pub operations_a_day: f64,
    /// Counts by solution.
    pub solutions: BTreeMap<String, Count>,
    /// Number of operations that were not performed, by the rule that decided.
    pub refused_by: BTreeMap<String, usize>,
    /// All incidents, by time of opening.
    pub incidents: Vec<Incident>,
}

impl Report {
    pub(super) fn new(mut incidents: Vec<Incident>, recorded: &[Recorded]) -> Self {
        incidents.sort_by(|a, b| (a.opened_at, &a.id).cmp(&(b.opened_at, &b.id)));
        let times = || {
            recorded
                .iter()
                .flat_map(|one| &one.series.samples)
                .map(|sample| sample.at)
        };
        let days = covered_days(recorded);
        let mut solutions: BTreeMap<String, Count> = BTreeMap::new();
        let mut refused_by: BTreeMap<String, usize> = BTreeMap::new();
        let mut operations = 0;
        for tried in incidents.iter().flat_map(|incident| &incident.tried) {
            let count = solutions.entry(tried.solution.clone()).or_default();
            count.proposed += 1;
            *count.outcomes.entry(tried.outcome).or_default() += 1;
            match tried.outcome {
                Outcome::Done => {
                    operations += usize::from(tried.operation.as_deref() != Some("notify"));
                }
                Outcome::Nothing => {}
                Outcome::Held | Outcome::Shadowed | Outcome::Denied => {
                    *refused_by.entry(tried.rule.clone()).or_default() += 1;
                }
            }
        }
        let a_day = |many: usize| if days > 0.0 { many as f64 / days } else { 0.0 };
        Self {
            from: times().min().unwrap_or(0),
            to: times().max().unwrap_or(0),
            days,
            series: recorded.len(),
            samples: times().count(),
            incidents_a_day: a_day(incidents.len()),
            operations_a_day: a_day(operations),
            solutions,
            refused_by,
            incidents,
        }
    }

    /// Formats the report for people. The text ends with a line break.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} to {}: {:.1} days with samples, {} series, {} samples",
            rfc3339(self.from),
            rfc3339(self.to),
            self.days,
            self.series,
            self.samples
        );
        let _ = writeln!(
            text,
            "{} incidents, {:.2} a day; {:.2} operations a day that would have changed something\n",
            self.incidents.len(),
            self.incidents_a_day,
            self.operations_a_day
        );
        if !self.solutions.is_empty() {
            let _ = writeln!(
                text,
                "{:<20} {:>8} {:>6} {:>8} {:>5} {:>9} {:>7} {:>7}",
                "solution", "proposed", "done", "no need", "held", "shadowed", "denied", "a day"
            );
        }
        for (solution, count) in &self.solutions {
            let of = |outcome| count.outcomes.get(&outcome).copied().unwrap_or(0);
            let a_day = if self.days > 0.0 {
                count.proposed as f64 / self.days
            } else {
                0.0
            };
            let _ = writeln!(
                text,
                "{solution:<20} {:>8} {:>6} {:>8} {:>5} {:>9} {:>7} {a_day:>7.2}",
                count.proposed,
                of(Outcome::Done),
                of(Outcome::Nothing),
                of(Outcome::Held),
                of(Outcome::Shadowed),
                of(Outcome::Denied)
            );
        }
        if !self.refused_by.is_empty() {
            let rules: Vec<String> = self
                .refused_by
                .iter()
                .map(|(rule, many)| format!("{rule} {many}"))
                .collect();
            let _ = writeln!(text, "not done, by rule: {}", rules.join(", "));
        }
        for incident in self.incidents.iter().take(MAX_LISTED) {
            let lasted = incident
                .cleared_at
                .map(|cleared| format!("lasted {}", lasted(cleared - incident.opened_at)));
            let _ = writeln!(
                text,
                "\n{}  {}  {}  {}\n    {}",
                rfc3339(incident.opened_at),
                incident.target,
                incident.signals.join(", "),
                lasted.unwrap_or_else(|| "not over at the end".to_owned()),
                incident.reason
            );
            for tried in &incident.tried {
                let outcome = match tried.outcome {
                    Outcome::Done => "would have been done".to_owned(),
                    Outcome::Nothing => "nothing to do".to_owned(),
                    Outcome::Held => format!("held by {}: {}", tried.rule, tried.reason),
                    Outcome::Shadowed => format!("shadowed by {}", tried.rule),
                    Outcome::Denied => format!("denied by {}: {}", tried.rule, tried.reason),
                };
                let _ = writeln!(
                    text,
                    "    {}  {}: {outcome}",
                    rfc3339(tried.at),
                    tried.solution
                );
            }
        }
        if self.incidents.len() > MAX_LISTED {
            let _ = writeln!(
                text,
                "\nand {} more: --output json has them all",
                self.incidents.len() - MAX_LISTED
            );
        }
        text
    }
}

/// Formats a duration as `1d 2h 5m`.
fn lasted(millis: i64) -> String {
    let minutes = millis.max(0) / 60_000;
    let parts = [
        (minutes / 1440, "d"),
        (minutes / 60 % 24, "h"),
        (minutes % 60, "m"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    if shown.is_empty() {
        format!("{}s", millis.max(0) / 1000)
    } else {
        shown.join(" ")
    }
}

/// Returns the number of days covered by the series. Gaps between series do not count, so series
/// recorded years apart do not lower the averages.
fn covered_days(recorded: &[Recorded]) -> f64 {
    let mut spans: Vec<(UnixMs, UnixMs)> = recorded
        .iter()
        .filter_map(|one| {
            Some((
                one.series.samples.first()?.at,
                one.series.samples.last()?.at,
            ))
        })
        .collect();
    spans.sort_unstable();
    let (mut days, mut reached) = (0.0, UnixMs::MIN);
    for (from, to) in spans {
        let from = from.max(reached);
        if to > from {
            days += (to - from) as f64 / DAY;
            reached = to;
        }
    }
    days
}

/// Returns the panels of the series with most incidents. Each panel shows the findings and the
/// solutions that would have been tried.
pub fn panels(report: &Report, recorded: &[Recorded]) -> Vec<Panel> {
    let mut chosen: Vec<(usize, &Recorded)> = recorded
        .iter()
        .map(|one| {
            (
                report
                    .incidents
                    .iter()
                    .filter(|incident| is_about(incident, one))
                    .count(),
                one,
            )
        })
        .collect();
    chosen.sort_by_key(|(many, _)| std::cmp::Reverse(*many));
    chosen
        .into_iter()
        .take(MOST_PANELS)
        .map(|(_, one)| panel(report, one))
        .collect()
}

fn is_about(incident: &Incident, one: &Recorded) -> bool {
    incident.target == one.target && incident.signals.contains(&one.signal)
}

fn panel(report: &Report, one: &Recorded) -> Panel {
    let points: Vec<(UnixMs, f64)> = one
        .series
        .samples
        .iter()
        .map(|sample| (sample.at, sample.value))
        .collect();
    let value_at = |at: UnixMs| {
        points
            .iter()
            .find(|(time, _)| *time >= at)
            .or(points.last())
            .map_or(0.0, |(_, v)| *v)
    };
    let mut panel = Panel {
        title: format!("{} ({})", one.signal, one.target),
        ..Panel::default()
    };
    for incident in report
        .incidents
        .iter()
        .filter(|incident| is_about(incident, one))
    {
        for finding in incident
            .seen
            .findings
            .iter()
            .filter(|finding| finding.signal == one.signal)
        {
            let to = if finding.phase == Phase::Clear {
                finding.at
            } else {
                incident.cleared_at.unwrap_or(report.to)
            };
            panel.marks.push(Mark {
                at: finding.onset_at,
                value: value_at(finding.onset_at),
                over: false,
            });
            panel.marks.push(Mark {
                at: to,
                value: value_at(to),
                over: true,
            });
            if let Some(range) = finding.expected {
                panel.expected.push(Expected {
                    from: finding.onset_at,
                    to,
                    range,
                });
            }
        }
        panel.events.extend(
            incident
                .tried
                .iter()
                .map(|tried| (tried.at, tried.solution.clone())),
        );
    }
    panel.points = points;
    panel
}
