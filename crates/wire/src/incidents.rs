//! Codec for incident events on `incidents-topic`, as JSON.

use bytes::Bytes;

use super::error::shortened_to;
use super::{DecodeError, JSON};
use anomalyzer_domain::{
    Delivery, Finding, Incident, IncidentEvent, Labels, Phase, Record, derive,
};

/// Encodes an event. Its key is the target.
pub fn encode(event: &IncidentEvent) -> Record {
    Record {
        key: Some(event.incident.target.key()),
        headers: vec![(
            "content-type".to_owned(),
            Bytes::from_static(JSON.as_bytes()),
        )],
        // The event consists of maps with text keys and of our own types, so serialization can't
        // fail.
        payload: serde_json::to_vec(event).unwrap_or_default().into(),
    }
}

/// Limits for the parts of an incident in one step of the shortening.
struct Left {
    samples: usize,
    findings: usize,
    labels: usize,
    text: usize,
}

/// Limits that are applied in order to fit the size limit. The least valuable fields are dropped
/// first.
const STEPS: [Left; 5] = [
    Left {
        samples: 8,
        findings: usize::MAX,
        labels: usize::MAX,
        text: usize::MAX,
    },
    Left {
        samples: 0,
        findings: usize::MAX,
        labels: usize::MAX,
        text: 1024,
    },
    Left {
        samples: 0,
        findings: usize::MAX,
        labels: 32,
        text: 128,
    },
    Left {
        samples: 0,
        findings: 16,
        labels: 16,
        text: 64,
    },
    Left {
        samples: 0,
        findings: 1,
        labels: 0,
        text: 64,
    },
];

/// Encodes an event in at most `limit` bytes. Leaves out the detectors' state and samples first,
/// then shortens texts, then leaves out the least important findings. Returns None if the event is
/// still too large.
pub fn encode_within(event: &IncidentEvent, limit: usize) -> Option<Record> {
    STEPS
        .iter()
        .map(|left| encode(&cut(event, left)))
        .find(|record| record.size() <= limit)
}

fn cut(event: &IncidentEvent, left: &Left) -> IncidentEvent {
    let mut event = IncidentEvent {
        witnesses: vec![],
        ..event.clone()
    };
    let Incident {
        findings, samples, ..
    } = &mut event.incident;
    // The series at an index belongs to the finding at that index.
    for series in samples.iter_mut() {
        let surplus = series.samples.len().saturating_sub(left.samples);
        series.samples.drain(..surplus);
        series.labels = short_labels(&series.labels, left);
    }
    if findings.len() > left.findings {
        let mut order: Vec<usize> = (0..findings.len()).collect();
        let weight = |finding: &Finding| (finding.phase != Phase::Clear, finding.severity);
        order.sort_by(|a, b| {
            let (a, b) = (weight(&findings[*a]), weight(&findings[*b]));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        order.truncate(left.findings);
        order.sort_unstable();
        *samples = order
            .iter()
            .filter_map(|index| samples.get(*index).cloned())
            .collect();
        *findings = order.iter().map(|index| findings[*index].clone()).collect();
    }
    for finding in findings {
        finding.labels = short_labels(&finding.labels, left);
        finding.reason = shortened_to(&finding.reason, left.text);
    }
    for evidence in &mut event.evidence {
        evidence.text = shortened_to(&evidence.text, left.text);
    }
    event
}

/// Shortens labels. A shortened text ends in a hash of the whole text, so different series stay
/// different.
fn short_labels(labels: &Labels, left: &Left) -> Labels {
    let short = |text: &str| match text.len() > left.text {
        true => format!("{} {}", shortened_to(text, left.text), derive(&[text])),
        false => text.to_owned(),
    };
    Labels::new(
        labels
            .iter()
            .take(left.labels)
            .map(|(name, value)| (short(name), short(value))),
    )
}

/// Decodes an event.
pub fn decode(delivery: &Delivery) -> Result<IncidentEvent, DecodeError> {
    DecodeError::unreadable(&delivery.record)?;
    serde_json::from_slice(&delivery.record.payload).map_err(DecodeError::json("an incident event"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{IncidentEventKind, Sample, Series, Topic, testing};

    /// Creates an event with `findings` findings and their samples. Each finding has `labels`
    /// labels of the given length.
    fn event(findings: usize, labels: usize, length: usize) -> IncidentEvent {
        let of = |number: usize| {
            let value = |label: usize| {
                (
                    format!("label{label}"),
                    format!("{}{number}", "ü".repeat(length / 2)),
                )
            };
            Labels::new((0..labels).map(value))
        };
        let finding = |number: usize| Finding {
            id: format!("find-{number}").into(),
            labels: of(number),
            phase: if number == 0 {
                Phase::Clear
            } else {
                Phase::Onset
            },
            severity: number as f64,
            reason: "x".repeat(length),
            ..testing::finding("latency")
        };
        let series = |number| Series {
            labels: of(number),
            samples: vec![
                Sample {
                    at: 1,
                    value: number as f64
                };
                64
            ],
        };
        let incident = Incident {
            samples: (0..findings).map(series).collect(),
            ..testing::incident("inc-1", (0..findings).map(finding).collect())
        };
        IncidentEvent::new(IncidentEventKind::Opened, 0, incident)
    }

    fn read(record: Record) -> IncidentEvent {
        decode(&testing::delivery(Topic::Incidents, record)).unwrap()
    }

    #[test]
    fn samples_are_left_out_before_anything_else() {
        let whole = event(3, 2, 10);
        let cut = read(encode_within(&whole, encode(&whole).size() - 1).unwrap());
        assert!(
            cut.incident
                .samples
                .iter()
                .all(|series| series.samples.len() == 8)
        );
        assert_eq!(cut.incident.findings, whole.incident.findings);
    }

    #[test]
    fn the_largest_incident_there_can_be_fits_into_a_small_message_and_its_series_still_differ() {
        let whole = event(64, 128, 1000);
        for limit in [10_000_000, 1_000_000, 100_000, 10_000, 1000] {
            let record = encode_within(&whole, limit).unwrap();
            assert!(record.size() <= limit);
            let incident = read(record).incident;
            assert_eq!(
                (&incident.id, &incident.target),
                (&whole.incident.id, &whole.incident.target)
            );
            assert_eq!(incident.findings.len(), incident.samples.len());
            if !incident.findings[0].labels.is_empty() {
                let labels: std::collections::HashSet<_> =
                    incident.findings.iter().map(|one| &one.labels).collect();
                assert_eq!(labels.len(), incident.findings.len());
            }
        }
    }

    #[test]
    fn the_finding_that_is_left_is_the_worst_that_goes_on_and_too_little_is_told() {
        let whole = event(64, 128, 1000);
        let [finding] = &read(encode_within(&whole, 1000).unwrap()).incident.findings[..] else {
            panic!()
        };
        assert_eq!(finding.id.as_str(), "find-63");
        assert_eq!(encode_within(&whole, 100), None);
    }
}
