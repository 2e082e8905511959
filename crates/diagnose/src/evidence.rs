//! Numbered evidence for an analyst.

use anomalyzer_domain::{
    Evidence, EvidenceKind, Finding, Incident, IncidentEvent, Phase, Range, Sample, rfc3339,
    truncate,
};

/// Maximum length of one piece of evidence in bytes. Text from outside must not crowd out the rest.
pub(super) const MAX_TEXT_BYTES: usize = 2_000;
/// Maximum number of findings.
const MAX_FINDINGS: usize = 12;
/// Maximum number of samples per series.
const MAX_SAMPLES: usize = 20;

/// Numbers the evidence of an event: findings, samples, coverage, and gathered evidence.
pub(super) fn number(event: &IncidentEvent) -> Vec<Evidence> {
    let incident = &event.incident;
    let mut parts: Vec<(EvidenceKind, String)> = Vec::new();
    for finding in incident.findings.iter().take(MAX_FINDINGS) {
        parts.push((EvidenceKind::Finding, describe(finding)));
    }
    for (finding, series) in incident
        .findings
        .iter()
        .zip(&incident.samples)
        .take(MAX_FINDINGS)
    {
        if !series.samples.is_empty() {
            parts.push((EvidenceKind::Samples, samples(finding, &series.samples)));
        }
    }
    parts.push((EvidenceKind::Coverage, coverage(incident)));
    for gathered in &event.evidence {
        parts.push((gathered.kind, gathered.text.clone()));
    }
    parts
        .into_iter()
        .enumerate()
        .map(|(i, (kind, text))| Evidence {
            id: format!("e{}", i + 1),
            kind,
            text: truncate(&text, MAX_TEXT_BYTES),
        })
        .collect()
}

fn describe(finding: &Finding) -> String {
    let phase = match finding.phase {
        Phase::Onset => "began",
        Phase::Ongoing => "goes on",
        Phase::Clear => "is over",
    };
    let direction = serde_name(&finding.direction);
    let expected = finding.expected.map(range).unwrap_or_default();
    let observed = finding
        .observed
        .map(|value| format!(", observed {}", short(value)))
        .unwrap_or_default();
    format!(
        "{}{}: {direction} expected, {phase}, since {}{observed}{expected}, severity {}: {}",
        finding.signal,
        finding.labels,
        rfc3339(finding.onset_at),
        short(finding.severity),
        finding.reason
    )
}

fn range(range: Range) -> String {
    match (range.low, range.high) {
        (Some(low), Some(high)) => format!(", expected {} to {}", short(low), short(high)),
        (Some(low), None) => format!(", expected at least {}", short(low)),
        (None, Some(high)) => format!(", expected at most {}", short(high)),
        (None, None) => String::new(),
    }
}

fn samples(finding: &Finding, samples: &[Sample]) -> String {
    let from = samples.len().saturating_sub(MAX_SAMPLES);
    let values: Vec<String> = samples[from..]
        .iter()
        .map(|sample| short(sample.value))
        .collect();
    format!(
        "{}: the last {} samples up to {}: {}",
        finding.signal,
        values.len(),
        rfc3339(finding.at),
        values.join(" ")
    )
}

fn coverage(incident: &Incident) -> String {
    let coverage = incident.coverage;
    format!(
        "{} of {} sources answered, {} failed",
        coverage.answered, coverage.asked, coverage.failed
    )
}

/// Formats a value with four significant digits.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor();
    if (-3.0..6.0).contains(&magnitude) {
        let decimals = (3.0 - magnitude).max(0.0) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.3e}")
    }
}

/// Returns the name of a unit variant on the wire.
pub fn serde_name<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        let shown: Vec<String> = [0.0, 0.012_345_6, 1.0, 12.345_6, 123_456.7, 1.5e9]
            .map(short)
            .into();
        assert_eq!(
            shown,
            ["0", "0.01235", "1.000", "12.35", "123457", "1.500e9"]
        );
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(truncate("aäb", 2), "a… [cut]");
    }
}
