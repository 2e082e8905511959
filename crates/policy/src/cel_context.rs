//! Variables that a policy's condition may use. Their names are stable, even if the types behind
//! them are renamed.

use serde_json::{Value, json};

use super::Facts;
use super::policy_case::NOON;
use super::time_zone::time_zone;
use anomalyzer_domain::UnixMs;

/// The variables by name.
pub(super) struct CelContext(pub Vec<(&'static str, Value)>);

impl CelContext {
    /// Creates the variables from the facts, with the time in the given time zone.
    ///
    /// # Errors
    /// Returns an error if the time zone is unknown. The condition can't be evaluated then.
    pub fn new(facts: &Facts, timezone: &str) -> Result<Self, String> {
        let incident = facts.incident.as_ref().map(|incident| {
            let lasted = incident.opened_at.map(|opened| facts.now.saturating_sub(opened) / 60_000);
            json!({ "signals": incident.signals, "severity": incident.severity, "minutes": lasted.unwrap_or(0) })
        });
        let operation = facts.operation.as_ref().map(|operation| {
            let effect = facts.effect();
            json!({
                "kind": operation.kind(),
                "replicas": effect.replicas,
                "interrupts": effect.interrupts,
            })
        });
        let replicas = facts
            .snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.replicas);
        Ok(Self(vec![
            ("solution", json!(facts.solution)),
            ("source", json!(facts.source)),
            ("target", json!(facts.target)),
            ("operation", json!(operation)),
            ("replicas", json!(replicas)),
            ("incident", json!(incident)),
            ("diagnosis", json!(facts.diagnosis)),
            ("time", time(facts.now, timezone)?),
            ("open_incidents", json!(facts.open_incidents)),
            ("spent", json!(facts.spent)),
        ]))
    }

    /// Returns sample variables in which nothing is missing.
    pub fn full() -> Self {
        Self(vec![
            ("solution", json!("scale_up")),
            ("source", json!("engine")),
            (
                "target",
                json!({"cluster": "default", "namespace": "shop", "kind": "Deployment", "name": "web"}),
            ),
            (
                "operation",
                json!({"kind": "scale", "replicas": 4, "interrupts": false}),
            ),
            ("replicas", json!({"desired": 2, "ready": 2})),
            (
                "incident",
                json!({"signals": ["latency"], "severity": 2.5, "minutes": 3}),
            ),
            (
                "diagnosis",
                json!({"analyst": "rules", "confidence": 0.8, "attempt": 0}),
            ),
            ("time", time(NOON, "UTC").unwrap_or_default()),
            ("open_incidents", json!(1)),
            (
                "spent",
                json!({"on_target": 0, "in_namespace": 0, "in_cluster": 0}),
            ),
        ])
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        if let Some((_, slot)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            *slot = value;
        }
        self
    }
}

/// Returns typical inputs, each with a name for messages. An absent value is null.
pub(super) fn samples() -> Vec<(&'static str, CelContext)> {
    vec![
        ("of the scaling of a Deployment", CelContext::full()),
        (
            "without an incident",
            CelContext::full()
                .with("incident", Value::Null)
                .with("source", json!("person")),
        ),
        (
            "of a restart",
            CelContext::full().with(
                "operation",
                json!({"kind": "restart", "replicas": null, "interrupts": true}),
            ),
        ),
        (
            "of a target without replicas",
            CelContext::full().with("replicas", Value::Null),
        ),
    ]
}

/// Returns the variable `time`. A time beyond the calendar is null.
fn time(now: UnixMs, timezone: &str) -> Result<Value, String> {
    let zone = time_zone(timezone)?;
    let Ok(now) = jiff::Timestamp::from_millisecond(now) else {
        return Ok(Value::Null);
    };
    let now = now.to_zoned(zone);
    let weekday = now.strftime("%a").to_string().to_uppercase();
    Ok(json!({
        "year": now.year(), "month": now.month(), "day": now.day(), "weekday": weekday,
        "hour": now.hour(), "minute": now.minute(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{facts, scale};

    /// Conditions are parsed against the variables of [`CelContext::full`]. These must have the
    /// names that [`CelContext::new`] provides when a condition is evaluated.
    #[test]
    fn what_is_seen_has_the_names_that_are_promised() {
        let seen = CelContext::new(&facts(scale(4)), "UTC").unwrap();
        for ((name, promised), (seen_name, seen)) in CelContext::full().0.iter().zip(&seen.0) {
            assert_eq!(name, seen_name);
            let fields = |value: &Value| {
                value
                    .as_object()
                    .map(|fields| fields.keys().cloned().collect::<Vec<_>>())
            };
            assert_eq!(fields(promised), fields(seen), "{name}");
        }
        assert_eq!(CelContext::full().0.len(), seen.0.len());
    }
}
