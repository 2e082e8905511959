//! Codec for solutions on `ai-solutions-topic`, as JSON.
//!
//! A message with `id` and `provenance` claims to come from this service and must match the format
//! exactly. The acting part checks the claim. If the claim is false, it treats the solution as
//! another producer's ([`disown`]). Every other message needs only `anomaly_type`, `solution_type`
//! and `explanation`. It may also have `target`, `parameters`, `confidence`, `incident`,
//! `timestamp` and `expires_at`. Its id is derived from its position on the topic, its provenance
//! is `topic`, and it expires five minutes after it was published.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::shortened;
use super::{AcceptedTime, DecodeError, JSON, external};
use anomalyzer_domain::{
    Analyst, AnalystKind, DecisionId, Delivery, IncidentId, Parameters, Provenance, Record,
    Solution, Target, UnixMs,
};

/// Lifetime of a message from another producer, unless the message sets its own.
const FOREIGN_LASTS: Duration = Duration::from_secs(300);
/// Maximum length in bytes of each name in a message from another producer.
const MOST_NAME_BYTES: usize = 256;
/// Maximum length of its explanation in bytes.
const MOST_EXPLANATION_BYTES: usize = 16 << 10;
/// Maximum size of its parameters in bytes, as JSON.
const MOST_PARAMETER_BYTES: usize = 64 << 10;

/// Encodes a solution. Its key is the target.
pub fn encode(solution: &Solution) -> Record {
    Record {
        key: solution.target.as_ref().map(Target::key),
        headers: vec![(
            "content-type".to_owned(),
            Bytes::from_static(JSON.as_bytes()),
        )],
        // The solution consists of maps with text keys and of our own types, so serialization can't
        // fail.
        payload: serde_json::to_vec(solution).unwrap_or_default().into(),
    }
}

/// Decoded solution.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A solution that claims to come from this service.
    Claimed(Solution),
    /// A solution of another producer.
    Foreign(Solution),
}

/// Decodes a solution.
pub fn decode(delivery: &Delivery, received_at: UnixMs) -> Result<Received, DecodeError> {
    DecodeError::unreadable(&delivery.record)?;
    let wrong = DecodeError::json("a solution");
    let message: Map<String, Value> =
        serde_json::from_slice(&delivery.record.payload).map_err(&wrong)?;
    if message.contains_key("id") && message.contains_key("provenance") {
        // The fields are only a claim, not a proof. The text is parsed again so that an error has
        // line and column.
        return serde_json::from_slice(&delivery.record.payload)
            .map(Received::Claimed)
            .map_err(wrong);
    }
    let message = serde_json::from_value(Value::Object(message)).map_err(wrong)?;
    adopt(message, delivery, received_at).map(Received::Foreign)
}

/// Converts a solution with a false claim of origin into another producer's solution. Its claims
/// about itself are dropped.
pub fn disown(
    claimed: Solution,
    delivery: &Delivery,
    received_at: UnixMs,
) -> Result<Solution, DecodeError> {
    let Solution {
        anomaly_type,
        solution_type,
        explanation,
        parameters,
        confidence,
        incident,
        target,
        ..
    } = claimed;
    let target = target.map(|target| Value::String(target.to_string()));
    let (parameters, confidence) = (
        Some(parameters),
        Some(confidence).filter(|confidence| confidence.is_finite()),
    );
    let (timestamp, expires_at) = (None, None);
    let message = Foreign {
        anomaly_type,
        solution_type,
        explanation,
        target,
        parameters,
        confidence,
        incident,
        timestamp,
        expires_at,
    };
    adopt(message, delivery, received_at)
}

/// JSON message of another producer.
#[derive(Deserialize)]
struct Foreign {
    anomaly_type: String,
    solution_type: String,
    explanation: String,
    #[serde(default)]
    target: Option<Value>,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    incident: Option<IncidentId>,
    #[serde(default)]
    timestamp: Option<Value>,
    #[serde(default)]
    expires_at: Option<Value>,
}

fn adopt(
    message: Foreign,
    delivery: &Delivery,
    received_at: UnixMs,
) -> Result<Solution, DecodeError> {
    DecodeError::limit(
        "bytes of an anomaly type",
        message.anomaly_type.len(),
        MOST_NAME_BYTES,
    )?;
    DecodeError::limit(
        "bytes of a solution type",
        message.solution_type.len(),
        MOST_NAME_BYTES,
    )?;
    DecodeError::limit(
        "bytes of an explanation",
        message.explanation.len(),
        MOST_EXPLANATION_BYTES,
    )?;
    external::name("anomaly_type", &message.anomaly_type, MOST_NAME_BYTES)?;
    external::name("solution_type", &message.solution_type, MOST_NAME_BYTES)?;
    if message.solution_type.is_empty() {
        return Err(DecodeError::field("solution_type", "is empty"));
    }
    let parameters = message.parameters.unwrap_or_default();
    let size = serde_json::to_vec(&parameters).map_or(usize::MAX, |json| json.len());
    DecodeError::limit("bytes of parameters", size, MOST_PARAMETER_BYTES)?;

    let (topic, partition) = (
        delivery.topic.default_name(),
        delivery.partition.to_string(),
    );
    let offset = delivery.offset.to_string();
    let time =
        |name, value: Option<Value>| value.map(|value| external::time(name, &value)).transpose();
    // The time of publication is the fallback, so that a message that is days old expires even if
    // its producer gives no time. A time in the future must not make it last longer.
    let proposed_at = time("timestamp", message.timestamp)?
        .or(delivery.published_at)
        .unwrap_or(received_at)
        .min(AcceptedTime::at(received_at).latest());
    let lasts = UnixMs::try_from(FOREIGN_LASTS.as_millis()).unwrap_or(UnixMs::MAX);
    let expires_at = time("expires_at", message.expires_at)?
        .unwrap_or_else(|| proposed_at.saturating_add(lasts));
    Ok(Solution {
        anomaly_type: message.anomaly_type,
        solution_type: message.solution_type,
        explanation: message.explanation,
        id: DecisionId::derive(&[topic, &partition, &offset]).to_string(),
        incident: message.incident.map(short).transpose()?,
        target: message
            .target
            .as_ref()
            .filter(|target| !target.is_null())
            .map(external::target)
            .transpose()?,
        parameters,
        confidence: message.confidence.unwrap_or(0.0).clamp(0.0, 1.0),
        evidence: Vec::new(),
        cites: Vec::new(),
        alternatives: Vec::new(),
        analyst: Analyst::of(AnalystKind::External),
        provenance: Provenance {
            source: Provenance::TOPIC.to_owned(),
            by: format!("{topic}/{partition}/{offset}"),
        },
        attempt: 0,
        proposed_at,
        expires_at,
        basis: None,
    })
}

fn short(incident: IncidentId) -> Result<IncidentId, DecodeError> {
    if incident.as_str().len() > MOST_NAME_BYTES {
        return Err(DecodeError::field(
            "incident",
            format!("is too long: {}", shortened(incident.as_str())),
        ));
    }
    external::name("incident", incident.as_str(), MOST_NAME_BYTES)?;
    Ok(incident)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use anomalyzer_domain::{Evidence, EvidenceKind, Proposal, Topic, testing};

    const PUBLISHED: UnixMs = 1_700_000_000_000;

    fn delivered(payload: impl Into<Bytes>) -> Delivery {
        let record = Record {
            payload: payload.into(),
            ..Record::default()
        };
        Delivery {
            offset: 7,
            published_at: Some(PUBLISHED),
            ..testing::delivery(Topic::Solutions, record)
        }
    }

    fn read(message: &Value) -> Result<Solution, DecodeError> {
        foreign_at(&delivered(message.to_string()))
    }

    fn foreign_at(delivery: &Delivery) -> Result<Solution, DecodeError> {
        decode(delivery, PUBLISHED).map(|received| match received {
            Received::Foreign(solution) => solution,
            Received::Claimed(solution) => panic!("{solution:?} is said to be ours"),
        })
    }

    fn ours() -> Solution {
        Solution {
            anomaly_type: "latency_above".to_owned(),
            solution_type: "scale_up".to_owned(),
            explanation: "the queue is full".to_owned(),
            id: "dec-1".to_owned(),
            incident: Some("inc-1".into()),
            target: Some(Target::new("shop", "Deployment", "web")),
            parameters: [("replicas".to_owned(), json!(4))].into_iter().collect(),
            confidence: 0.75,
            evidence: vec![Evidence {
                id: "e1".to_owned(),
                kind: EvidenceKind::Finding,
                text: "…".to_owned(),
            }],
            cites: vec!["e1".to_owned()],
            alternatives: vec![Proposal {
                solution_type: "alarm".to_owned(),
                parameters: Parameters::default(),
                explanation: "tell somebody".to_owned(),
                confidence: 0.2,
            }],
            analyst: Analyst {
                kind: AnalystKind::Ollama,
                model: Some("m".to_owned()),
                digest: Some("d".to_owned()),
                took_ms: 12,
                why_rules: None,
                prompt: Some("p".to_owned()),
                prompt_sha256: Some("s".to_owned()),
                raw_answer: Some("{}".to_owned()),
            },
            provenance: Provenance {
                source: "engine".to_owned(),
                by: "engine-1".to_owned(),
            },
            attempt: 1,
            proposed_at: PUBLISHED,
            expires_at: PUBLISHED + 1,
            basis: None,
        }
    }

    #[test]
    fn ours_survives_the_topic() {
        let record = encode(&ours());
        assert_eq!(record.key.as_deref(), Some("default/shop/Deployment/web"));
        assert_eq!(
            decode(&delivered(record.payload), PUBLISHED),
            Ok(Received::Claimed(ours()))
        );
    }

    #[test]
    fn a_consumer_that_knows_only_three_fields_can_read_ours() {
        #[derive(Deserialize)]
        struct Three {
            anomaly_type: String,
            solution_type: String,
            explanation: String,
        }
        let three: Three = serde_json::from_slice(&encode(&ours()).payload).unwrap();
        assert_eq!(
            (
                &three.anomaly_type[..],
                &three.solution_type[..],
                &three.explanation[..]
            ),
            ("latency_above", "scale_up", "the queue is full")
        );
    }

    #[test]
    fn a_time_in_the_far_future_makes_no_solution_last_longer() {
        let message =
            json!({"anomaly_type": "cpu", "solution_type": "scale_up", "explanation": "busy"});
        let ahead = Delivery {
            published_at: Some(PUBLISHED + 3_600_000),
            ..delivered(message.to_string())
        };
        let solution = foreign_at(&ahead).unwrap();
        let latest = AcceptedTime::at(PUBLISHED).latest();
        assert_eq!(
            (solution.proposed_at, solution.expires_at),
            (latest, latest + 300_000)
        );
    }

    #[test]
    fn three_fields_are_enough() {
        let message = json!({"anomaly_type": "cpu", "solution_type": "scale_up", "explanation": "busy", "extra": [1]});
        let solution = read(&message).unwrap();
        assert_eq!(solution.target, None);
        assert_eq!(
            (solution.proposed_at, solution.expires_at),
            (PUBLISHED, PUBLISHED + 300_000)
        );
        assert_eq!(
            solution.provenance,
            Provenance {
                source: "topic".into(),
                by: "ai-solutions-topic/0/7".into()
            }
        );
        assert_eq!(solution.analyst.kind, AnalystKind::External);
        assert_eq!(
            read(&message).unwrap().id,
            solution.id,
            "the same place has the same id"
        );
        let elsewhere = Delivery {
            offset: 8,
            ..delivered(message.to_string())
        };
        assert_ne!(foreign_at(&elsewhere).unwrap().id, solution.id);
    }

    #[test]
    fn someone_else_may_give_more_but_not_an_identity() {
        let solution = read(&json!({
            "anomaly_type": "cpu", "solution_type": "scale_up", "explanation": "busy", "id": "dec-1",
            "target": "default/shop/Deployment/web", "parameters": {"replicas": 3}, "confidence": 7,
            "timestamp": 1_700_000_100, "expires_at": "2023-11-14T22:20:00Z",
        }))
        .unwrap();
        assert_ne!(solution.id, "dec-1");
        assert_eq!(
            solution.target,
            Some(Target::new("shop", "Deployment", "web"))
        );
        assert_eq!(
            (solution.parameters["replicas"].clone(), solution.confidence),
            (json!(3), 1.0)
        );
        assert_eq!(
            (solution.proposed_at, solution.expires_at),
            (1_700_000_100_000, 1_700_000_400_000)
        );
    }

    #[test]
    fn what_says_it_is_ours_and_is_not_keeps_nothing_of_what_it_says_of_itself() {
        let claimed = Solution {
            expires_at: UnixMs::MAX,
            confidence: f64::INFINITY,
            ..ours()
        };
        let disowned = disown(claimed.clone(), &delivered(""), PUBLISHED).unwrap();
        assert_eq!(
            disowned.provenance,
            Provenance {
                source: "topic".into(),
                by: "ai-solutions-topic/0/7".into()
            }
        );
        assert_eq!(
            (disowned.proposed_at, disowned.expires_at),
            (PUBLISHED, PUBLISHED + 300_000)
        );
        assert_eq!(
            (disowned.analyst.kind, disowned.attempt),
            (AnalystKind::External, 0)
        );
        assert!(
            disowned.id != claimed.id
                && disowned.evidence.is_empty()
                && disowned.alternatives.is_empty()
        );
        assert_eq!(
            (disowned.target, disowned.parameters),
            (claimed.target, claimed.parameters)
        );
        let long = Solution {
            explanation: "x".repeat(20_000),
            ..ours()
        };
        assert!(
            disown(long, &delivered(""), PUBLISHED)
                .unwrap_err()
                .to_string()
                .contains("bytes of an explanation")
        );
    }

    #[test]
    fn a_name_with_a_hidden_character_is_refused() {
        for field in ["anomaly_type", "solution_type", "target", "incident"] {
            let mut message = json!({"anomaly_type": "a", "solution_type": "b", "explanation": "c",
                "target": "default//Process/web", "incident": "inc-1"});
            assert!(read(&message).is_ok());
            message[field] = json!("default//Process/w\u{202e}bew");
            let error = read(&message).unwrap_err().to_string();
            assert!(error.contains("U+202E") && error.contains(field), "{error}");
        }
    }

    #[test]
    fn an_error_tells_what_and_where() {
        let error = |payload: &str| {
            decode(&delivered(payload.to_owned()), PUBLISHED)
                .unwrap_err()
                .to_string()
        };
        assert!(error("{\n\"a\": nonsense}").contains("line 2"));
        assert!(error("{}").contains("missing field `anomaly_type`"));
        assert!(error("[]").starts_with("not a solution as JSON"));
        let ours = String::from_utf8(encode(&ours()).payload.to_vec()).unwrap();
        assert!(
            error(&ours.replace("\"attempt\":1", "\"attempt\":-1"))
                .contains("invalid value: integer `-1`")
        );
        let three =
            json!({"anomaly_type": "a", "solution_type": "b", "explanation": "x".repeat(20_000)});
        assert!(
            error(&three.to_string()).contains("20000 bytes of an explanation are more than 16384")
        );
        let wrong_target =
            json!({"anomaly_type": "a", "solution_type": "b", "explanation": "c", "target": "web"});
        assert!(error(&wrong_target.to_string()).contains("cluster/namespace/kind/name"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&delivered(payload), PUBLISHED);
        }

        #[test]
        fn any_texts_survive(texts in proptest::array::uniform3(".{1,50}"), confidence in any::<f64>()) {
            let [anomaly_type, solution_type, explanation] = texts;
            let solution = Solution { anomaly_type, solution_type, explanation, confidence, ..ours() };
            let Received::Claimed(read) = decode(&delivered(encode(&solution).payload), PUBLISHED).unwrap() else { unreachable!() };
            prop_assert_eq!(read.confidence.to_bits(), confidence.to_bits());
            prop_assert_eq!(Solution { confidence: 0.0, ..read }, Solution { confidence: 0.0, ..solution });
        }
    }
}
