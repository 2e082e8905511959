//! Request bodies of each kind of channel.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{About, ChannelConfig};
use anomalyzer_domain::{Notice, UnixMs, rfc3339};

/// Maximum number of characters of a text that are sent.
const MAX_TEXT_CHARS: usize = 8_000;
/// Age in milliseconds from which a notice is late.
const LATE_MS: i64 = 60_000;

/// Builds the body for a webhook, which holds all fields.
pub fn webhook(notice: &Notice, about: &About) -> Value {
    json!({
        "id": about.operation,
        "incident": about.incident,
        "target": about.target,
        "severity": about.severity,
        "at": rfc3339(about.at),
        "title": cut(&notice.title),
        "text": cut(&notice.text),
    })
}

/// Builds one alert for Alertmanager, without its end. Alertmanager identifies alerts by their
/// labels. The labels therefore name the target and the incident, and not the title. A question has
/// a label of its own, because it ends before its incident. So has a storm, which has many
/// incidents.
pub fn alert(channel: &ChannelConfig, notice: &Notice, about: &About) -> Value {
    let mut labels: BTreeMap<String, String> = channel.labels.clone();
    let mut label = |name: &str, value: &str| {
        // Alertmanager treats an empty label as a missing one.
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    };
    label("alertname", "Anomalyzer");
    label("severity", &about.severity);
    if let Some(incident) = &about.incident {
        label("incident", incident.as_str());
    }
    if about.until.is_some() {
        label("question", about.operation.as_str());
    }
    if let Some(storm) = &about.storm {
        label("storm", storm.as_str());
    }
    if let Some(target) = &about.target {
        label("target", &target.to_string());
        label("cluster", &target.cluster);
        label("namespace", &target.namespace);
        label("kind", &target.kind);
        label("name", &target.name);
    }
    let mut alert = Map::from_iter([
        ("labels".to_owned(), json!(labels)),
        (
            "annotations".to_owned(),
            json!({"summary": cut(&notice.title), "description": cut(&notice.text), "operation": about.operation}),
        ),
        ("startsAt".to_owned(), rfc3339(about.at).into()),
    ]);
    if let Some(url) = &channel.generator_url {
        alert.insert("generatorURL".to_owned(), url.clone().into());
    }
    Value::Object(alert)
}

/// Builds the body for Slack. Escapes the three characters that have a meaning there, so that a log
/// line cannot mention everybody. A late notice tells its time, because the text speaks of the
/// present.
pub fn slack(notice: &Notice, about: &About, now: UnixMs) -> Value {
    let late = match now.saturating_sub(about.at) > LATE_MS {
        true => format!("\n(of {}, delivered late)", rfc3339(about.at)),
        false => String::new(),
    };
    let escaped = |text: &str| {
        cut(text)
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    json!({ "text": format!("*{}*\n{}{late}", escaped(&notice.title), escaped(&notice.text)) })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::ChannelKind;
    use anomalyzer_domain::{OperationId, Target};

    fn notice() -> Notice {
        Notice {
            channel: "default".into(),
            title: "web is slow".into(),
            text: "<!channel> p99 > 1s & rising".into(),
        }
    }

    fn about() -> About {
        About {
            operation: OperationId::from("op-1"),
            incident: Some("inc-1".into()),
            target: Some(Target::new("", "Process", "web")),
            severity: "critical".into(),
            at: 0,
            until: None,
            storm: None,
        }
    }

    #[test]
    fn slack_cannot_be_made_to_call_everybody() {
        assert_eq!(
            slack(&notice(), &about(), 0),
            json!({"text": "*web is slow*\n&lt;!channel&gt; p99 &gt; 1s &amp; rising"})
        );
        let late = slack(&notice(), &about(), 61_000).to_string();
        assert!(
            late.contains("(of 1970-01-01T00:00:00.000Z, delivered late)"),
            "{late}"
        );
    }

    #[test]
    fn an_alert_is_told_apart_by_its_target_and_incident() {
        let mut channel = ChannelConfig::new(ChannelKind::Alertmanager, None);
        channel.labels.insert("team".into(), "shop".into());
        channel.generator_url = Some("http://127.0.0.1:9000".into());
        assert_eq!(
            alert(&channel, &notice(), &about()),
            json!({
                "labels": {
                    "alertname": "Anomalyzer", "severity": "critical", "incident": "inc-1", "team": "shop",
                    "target": "default//Process/web", "cluster": "default", "kind": "Process", "name": "web"
                },
                "annotations": {
                    "summary": "web is slow", "description": "<!channel> p99 > 1s & rising", "operation": "op-1"
                },
                "startsAt": "1970-01-01T00:00:00.000Z",
                "generatorURL": "http://127.0.0.1:9000"
            })
        );
        let asks = About {
            until: Some(1),
            ..about()
        };
        assert_eq!(
            alert(&channel, &notice(), &asks)["labels"]["question"],
            "op-1"
        );
    }
}
