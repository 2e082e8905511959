//! Action that sends a notice to people.

use std::fmt::Write;

use anomalyzer_plugin_sdk::{
    About, Action, Direction, Error, Expected, Finding, Incident, Need, Notice, Operation, Phase,
    Plan, figure,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Channel and message of the notice.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Name of the configured channel.
    pub channel: String,
    /// Text that comes first in the notice.
    pub message: Option<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            channel: "default".to_owned(),
            message: None,
        }
    }
}

/// Action `alarm`.
pub struct Alarm;

/// Maximum number of findings in the text. The text only counts the others.
const MOST_FINDINGS: usize = 10;

impl Action for Alarm {
    type Parameters = Parameters;

    const NEEDS: &'static [Need] = &[Need {
        operation: "notify",
        scope: "*",
    }];

    fn about() -> About {
        About {
            name: "alarm",
            version: env!("CARGO_PKG_VERSION"),
            summary: "tells people",
        }
    }

    fn plan(incident: &Incident, parameters: Parameters) -> Result<Plan, Error> {
        if parameters.channel.is_empty() {
            return Err(Error::Invalid(
                "`channel` is empty: give the name of a configured channel".to_owned(),
            ));
        }
        let title = title(incident);
        let text = text(incident, parameters.message.as_deref());
        let summary = format!("told the channel `{}`: {title}", parameters.channel);
        let notice = Notice {
            channel: parameters.channel,
            title,
            text,
        };
        Ok(Plan::in_order(vec![Operation::Notify(notice)], |_| summary))
    }
}

/// Returns the title in one line: the worst finding that still goes on, and its target.
fn title(incident: &Incident) -> String {
    let place = incident
        .target
        .as_ref()
        .map_or_else(|| "no target".to_owned(), ToString::to_string);
    let active = incident
        .findings
        .iter()
        .filter(|finding| finding.phase != Phase::Clear);
    match active.max_by(|a, b| a.severity.total_cmp(&b.severity)) {
        Some(worst) => format!("{} {} on {place}", worst.signal, how(worst.direction)),
        None => format!("a notice about {place}"),
    }
}

fn text(incident: &Incident, message: Option<&str>) -> String {
    let mut lines: Vec<String> = message.map(str::to_owned).into_iter().collect();
    if let Some(diagnosis) = incident
        .diagnosis
        .as_ref()
        .filter(|diagnosis| !diagnosis.explanation.is_empty())
    {
        lines.push(diagnosis.explanation.clone());
    }
    lines.extend(incident.findings.iter().take(MOST_FINDINGS).map(in_words));
    if incident.findings.len() > MOST_FINDINGS {
        lines.push(format!(
            "… and {} findings more",
            incident.findings.len() - MOST_FINDINGS
        ));
    }
    if let Some(target) = &incident.target {
        lines.push(format!("target: {target}"));
    }
    lines.push(format!("incident: {}", incident.id));
    lines.join("\n")
}

fn in_words(finding: &Finding) -> String {
    let mut words = format!("{} {}", finding.signal, how(finding.direction));
    let observed = finding
        .observed
        .map_or_else(|| "nothing".to_owned(), figure);
    // Writing to a string can't fail.
    let _ = write!(words, ": observed {observed}");
    if let Some(expected) = &finding.expected {
        let _ = write!(words, ", expected {}", range(expected));
    }
    let _ = write!(words, ", severity {:.1}", finding.severity);
    if finding.phase == Phase::Clear {
        words.push_str(" (over)");
    }
    if !finding.reason.is_empty() {
        let _ = write!(words, ": {}", finding.reason);
    }
    words
}

fn how(direction: Direction) -> &'static str {
    match direction {
        Direction::Above => "is above what is expected",
        Direction::Below => "is below what is expected",
        Direction::Shape => "is not as expected",
    }
}

fn range(expected: &Expected) -> String {
    match (expected.low.map(figure), expected.high.map(figure)) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("at least {low}"),
        (None, Some(high)) => format!("at most {high}"),
        (None, None) => "anything".to_owned(),
    }
}

anomalyzer_plugin_sdk::export_action!(Alarm);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::serde_json::json;
    use anomalyzer_plugin_sdk::test::{Case, all_done};
    use anomalyzer_plugin_sdk::{Outcome, Step};

    use super::*;

    fn notice(case: &Case) -> Notice {
        let played = case.play::<Alarm>(all_done).unwrap();
        assert!(matches!(played.end, Step::Finished(_)), "{played:?}");
        let [Operation::Notify(notice)] = &played.operations[..] else {
            panic!("{played:?}")
        };
        notice.clone()
    }

    #[test]
    fn people_are_told_what_is_wrong_where_and_why() {
        let finding = |signal: &str, severity: f64, phase: &str| {
            json!({
                "id": "find-1", "signal": signal, "meaning": "latency", "labels": {"path": "/"}, "detector": "zscore",
                "detector_digest": "", "onset_at": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:00:00Z",
                "phase": phase, "direction": "above", "score": 2.0, "severity": severity, "observed": 412.0,
                "expected": {"low": null, "high": 150.0}, "reason": "412 is far above 120",
            })
        };
        let told = notice(&Case {
            findings: json!([
                finding("errors", 3.0, "onset"),
                finding("latency", 8.0, "ongoing"),
                finding("old", 99.0, "clear")
            ]),
            diagnosis: json!({"explanation": "too few workers", "confidence": 0.8, "evidence": [], "alternatives": []}),
            ..Case::default()
        });
        assert_eq!(told.channel, "default");
        assert_eq!(
            told.title,
            "latency is above what is expected on default/shop/Deployment/web"
        );
        assert_eq!(
            told.text,
            "too few workers\n\
             errors is above what is expected: observed 412, expected at most 150, severity 3.0: 412 is far above 120\n\
             latency is above what is expected: observed 412, expected at most 150, severity 8.0: 412 is far above 120\n\
             old is above what is expected: observed 412, expected at most 150, severity 99.0 (over): 412 is far above 120\n\
             target: default/shop/Deployment/web\n\
             incident: inc-0123456789abcdef"
        );
    }

    #[test]
    fn a_source_that_fell_silent_was_observed_as_nothing() {
        let told = notice(&Case {
            findings: json!([{"signal": "latency", "phase": "onset", "direction": "shape", "score": 1.0, "severity": 1.0,
                "observed": null, "expected": null, "reason": "no data for 30 s"}]),
            ..Case::default()
        });
        assert!(told.text.contains(
            "latency is not as expected: observed nothing, severity 1.0: no data for 30 s"
        ));
    }

    #[test]
    fn a_person_can_say_what_and_to_whom() {
        let told = notice(&Case {
            target: None,
            parameters: json!({"channel": "on-call", "message": "look here"}),
            ..Case::default()
        });
        assert_eq!(
            (told.channel.as_str(), told.title.as_str()),
            ("on-call", "a notice about no target")
        );
        assert!(told.text.starts_with("look here\n"));
    }

    #[test]
    fn nobody_told_is_given_up() {
        let played = Case::default()
            .play::<Alarm>(|_| Outcome::Failed("webhook: 500".to_owned()))
            .unwrap();
        assert!(matches!(played.end, Step::GaveUp(reason) if reason.contains("webhook: 500")));
    }
}
