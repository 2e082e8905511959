//! Alerts that an Alertmanager holds. It takes an alert back that is not repeated, so that each one
//! is sent again while its incident is open, and once more with its end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::About;
use anomalyzer_domain::{IncidentId, OperationId, UnixMs, millis, rfc3339};

/// Maximum number of alerts that are followed.
const MAX_ALERTS: usize = 20_000;
/// Maximum number of open incidents that the alerts of storms tell of.
const MAX_JOINED: usize = 100_000;
/// Maximum number of alerts in one request.
pub const BATCH: usize = 500;
/// Number of intervals for which an alert is valid. An Alertmanager takes it back after that, as
/// for the alerts of a Prometheus that is gone.
const VALID_INTERVALS: u32 = 5;
/// Time after which the end of an alert is abandoned. The Alertmanager has taken it back by then.
const END_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Identity of an alert: its channel, and its labels as JSON.
pub type AlertKey = (String, String);

/// The followed alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    known: Mutex<HashMap<AlertKey, Alert>>,
    /// The open incidents that the alert of each storm tells of. It is locked after `known`.
    storms: Mutex<HashMap<OperationId, HashSet<IncidentId>>>,
}

#[derive(Debug)]
struct Alert {
    /// The alert without its end.
    body: Value,
    incident: Option<IncidentId>,
    operation: OperationId,
    storm: Option<OperationId>,
    until: Option<UnixMs>,
    ended: Option<(UnixMs, Instant)>,
    /// Time of the next repetition. `None` until the first request succeeded.
    due: Option<Instant>,
}

impl Alert {
    /// Returns the alert as it is sent at `now`.
    fn shown(&self, now: UnixMs, interval: Duration) -> Value {
        let valid_until = now.saturating_add(millis(interval * VALID_INTERVALS));
        let ends_at = match (self.ended, self.until) {
            (Some((at, _)), _) => at.min(now),
            (None, Some(until)) => until,
            (None, None) => valid_until,
        };
        let mut body = self.body.clone();
        body["endsAt"] = rfc3339(ends_at).into();
        body
    }
}

/// Returns the key of an alert on `channel`.
pub fn key(channel: &str, body: &Value) -> AlertKey {
    (channel.to_owned(), body["labels"].to_string())
}

impl Alerts {
    /// Begins to follow an alert. A known alert keeps its beginning, and is open again. An alert
    /// that belongs to no incident, no question and no storm of incidents has no end that could be
    /// followed. A `restored` alert was sent before, and restored alerts come from the newest to
    /// the oldest. Returns false if there are too many.
    pub fn begin(&self, channel: &str, mut body: Value, about: &About, restored: bool) -> bool {
        let mut known = self.known.lock();
        let is_storm = |storm| self.storms.lock().contains_key(storm);
        let of_storm = about.storm.as_ref().is_some_and(is_storm);
        if about.incident.is_none() && about.until.is_none() && !of_storm {
            return true;
        }
        let full = known.len() >= MAX_ALERTS;
        let key = key(channel, &body);
        let before = known.get(&key);
        if before.is_none() && full {
            return false;
        }
        let due = before.and_then(|before| before.due);
        if let Some(before) = known.get_mut(&key) {
            if restored {
                before.body["startsAt"] = body["startsAt"].take();
                return true;
            }
            body["startsAt"] = before.body["startsAt"].take();
        }
        let alert = Alert {
            body,
            incident: about.incident.clone(),
            operation: about.operation.clone(),
            storm: about.storm.clone(),
            until: about.until,
            ended: None,
            due: due.or_else(|| restored.then(Instant::now)),
        };
        known.insert(key, alert);
        true
    }

    /// Returns the alert `key` as it is sent at `now`, or `None` if it is not followed.
    pub fn shown(&self, key: &AlertKey, now: UnixMs, interval: Duration) -> Option<Value> {
        let known = self.known.lock();
        known.get(key).map(|alert| alert.shown(now, interval))
    }

    /// Forgets an alert that its Alertmanager refuses.
    pub fn forget(&self, key: &AlertKey) {
        self.known.lock().remove(key);
    }

    /// Makes an alert due whose first request was abandoned.
    pub fn repeat(&self, key: &AlertKey) {
        if let Some(alert) = self.known.lock().get_mut(key) {
            alert.due.get_or_insert_with(Instant::now);
        }
    }

    /// Returns the incidents whose alerts have not ended.
    pub fn incidents(&self) -> Vec<IncidentId> {
        let known = self.known.lock();
        let open = known.values().filter(|alert| alert.ended.is_none());
        let mut incidents: Vec<_> = open.filter_map(|alert| alert.incident.clone()).collect();
        incidents.extend(self.storms.lock().values().flatten().cloned());
        incidents.sort_unstable();
        incidents.dedup();
        incidents
    }

    /// Lets the alert of a storm last as long as this incident, besides others. Returns false if
    /// there are too many.
    pub fn join_storm(&self, storm: &OperationId, incident: &IncidentId) -> bool {
        let mut storms = self.storms.lock();
        let joined: usize = storms.values().map(HashSet::len).sum();
        let has_room = joined < MAX_JOINED;
        if has_room {
            let incidents = storms.entry(storm.clone()).or_default();
            incidents.insert(incident.clone());
        }
        has_room
    }

    /// Ends the alerts of an incident, and those of storms whose last incident it was.
    pub fn end_incident(&self, incident: &IncidentId, at: UnixMs) {
        let mut over = Vec::new();
        self.storms.lock().retain(|storm, incidents| {
            let was_last = incidents.remove(incident) && incidents.is_empty();
            if was_last {
                over.push(storm.clone());
            }
            !was_last
        });
        self.end(at, |alert| {
            let storm = alert.storm.as_ref();
            alert.incident.as_ref() == Some(incident) || storm.is_some_and(|it| over.contains(it))
        });
    }

    /// Ends the alert of an operation, for example of a question that is answered.
    pub fn end_operation(&self, operation: &OperationId, at: UnixMs) {
        self.end(at, |alert| alert.operation == *operation);
    }

    fn end(&self, at: UnixMs, of: impl Fn(&Alert) -> bool) {
        for alert in self.known.lock().values_mut().filter(|alert| of(alert)) {
            alert.ended.get_or_insert((at, Instant::now()));
        }
    }

    /// Returns the alerts that are due on `channel`, as they are sent at `now`. Forgets alerts that
    /// lapsed, and ends that could not be sent for long.
    pub fn due(&self, channel: &str, now: UnixMs, interval: Duration) -> Vec<(AlertKey, Value)> {
        let mut known = self.known.lock();
        known.retain(|_, alert| {
            let lapsed = alert.ended.is_none() && alert.until.is_some_and(|until| until < now);
            let is_abandoned = alert
                .ended
                .is_some_and(|(_, ended_at)| ended_at.elapsed() > END_TIMEOUT);
            !lapsed && !is_abandoned
        });
        let due = known.iter().filter(|((of, _), alert)| {
            let is_due = |due: Instant| due <= Instant::now();
            // The end of an alert is due at once. A question is valid until it lapses.
            let soon = alert.ended.is_some() || alert.until.is_none();
            of == channel
                && soon
                && alert
                    .due
                    .is_some_and(|due| alert.ended.is_some() || is_due(due))
        });
        due.map(|(key, alert)| (key.clone(), alert.shown(now, interval)))
            .collect()
    }

    /// Notes that these alerts were sent as `body`. An alert whose end was sent is forgotten.
    pub fn sent<'a>(
        &self,
        sent: impl IntoIterator<Item = (&'a AlertKey, &'a Value)>,
        interval: Duration,
    ) {
        let mut known = self.known.lock();
        for (key, body) in sent {
            let Some(alert) = known.get_mut(key) else {
                continue;
            };
            match alert.ended {
                Some((at, _)) if body["endsAt"].as_str() == Some(rfc3339(at).as_str()) => {
                    known.remove(key);
                }
                // The alert ended while it was sent: its end follows.
                _ => alert.due = Some(Instant::now() + interval),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MINUTE: Duration = Duration::from_secs(60);

    fn about(incident: Option<&str>, until: Option<UnixMs>) -> About {
        About {
            operation: OperationId::from("op-1"),
            incident: incident.map(Into::into),
            target: None,
            severity: "critical".into(),
            at: 0,
            until,
            storm: None,
        }
    }

    fn body(label: &str, text: &str) -> Value {
        json!({"labels": {"x": label}, "annotations": text, "startsAt": text})
    }

    /// Returns the due alerts as label and end, and notes them as sent.
    fn send(alerts: &Alerts, now: UnixMs) -> Vec<(String, String)> {
        let due = alerts.due("am", now, MINUTE);
        alerts.sent(due.iter().map(|(key, body)| (key, body)), MINUTE);
        let shown = due.iter().map(|(_, body)| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&body["labels"]["x"]), text(&body["endsAt"]))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_is_repeated_while_its_incident_is_open_and_ends_once() {
        let alerts = Alerts::default();
        assert!(alerts.begin("am", body("a", "0"), &about(Some("inc-a"), None), true));
        assert!(alerts.begin("am", body("b", "0"), &about(Some("inc-b"), None), true));
        assert!(alerts.begin("other", body("a", "0"), &about(Some("inc-a"), None), true));
        let both = |end: UnixMs| {
            vec![
                ("a".to_owned(), rfc3339(end)),
                ("b".to_owned(), rfc3339(end)),
            ]
        };
        assert_eq!(send(&alerts, 0), both(300_000));
        assert_eq!(send(&alerts, 1_000), []);
        for minute in 1..=10 {
            tokio::time::advance(MINUTE).await;
            assert_eq!(send(&alerts, minute * 60_000), both((minute + 5) * 60_000));
        }
        assert_eq!(alerts.incidents(), ["inc-a".into(), "inc-b".into()]);
        alerts.end_incident(&"inc-a".into(), 601_000);
        assert_eq!(alerts.incidents(), ["inc-b".into()]);
        assert_eq!(send(&alerts, 602_000), [("a".to_owned(), rfc3339(601_000))]);
        assert_eq!(send(&alerts, 603_000), []);
        tokio::time::advance(MINUTE).await;
        assert_eq!(send(&alerts, 660_000), [("b".to_owned(), rfc3339(960_000))]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_whose_first_request_is_under_way_is_not_repeated_and_keeps_its_beginning() {
        let alerts = Alerts::default();
        let about = about(Some("inc"), None);
        alerts.begin("am", body("a", "first"), &about, false);
        assert_eq!(send(&alerts, 0), []);
        let key = key("am", &body("a", ""));
        let shown = alerts.shown(&key, 0, MINUTE).unwrap();
        alerts.sent([(&key, &shown)], MINUTE);
        alerts.begin("am", body("a", "second"), &about, false);
        let shown = alerts.shown(&key, 0, MINUTE).unwrap();
        assert_eq!(
            (&shown["startsAt"], &shown["annotations"]),
            (&"first".into(), &"second".into())
        );
        tokio::time::advance(MINUTE).await;
        assert_eq!(send(&alerts, 60_000).len(), 1);
        // The incident ends before the alert arrives: it arrives with its end.
        alerts.end_incident(&"inc".into(), 61_000);
        assert_eq!(
            alerts.shown(&key, 90_000, MINUTE).unwrap()["endsAt"],
            rfc3339(61_000)
        );
        alerts.forget(&key);
        assert_eq!(alerts.shown(&key, 0, MINUTE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_valid_until_it_lapses_or_is_answered() {
        let alerts = Alerts::default();
        let about = about(Some("inc"), Some(1_800_000));
        alerts.begin("am", body("q", "0"), &about, true);
        tokio::time::advance(MINUTE * 10).await;
        assert_eq!(send(&alerts, 600_000), []);
        alerts.end_operation(&about.operation, 600_001);
        assert_eq!(send(&alerts, 700_000), [("q".to_owned(), rfc3339(600_001))]);
        alerts.begin("am", body("q", "0"), &about, true);
        assert_eq!(send(&alerts, 1_800_001), []);
        assert!(alerts.known.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_alert_of_a_storm_is_repeated_until_the_last_of_its_incidents_is_over() {
        let (alerts, storm) = (Alerts::default(), OperationId::from("storm-1"));
        let about = About {
            storm: Some(storm.clone()),
            ..about(None, None)
        };
        assert!(alerts.join_storm(&storm, &"inc-a".into()));
        assert!(alerts.join_storm(&storm, &"inc-b".into()));
        alerts.begin("am", body("s", "0"), &about, false);
        let first = key("am", &body("s", ""));
        alerts.sent(
            [(&first, &alerts.shown(&first, 0, MINUTE).unwrap())],
            MINUTE,
        );
        assert_eq!(alerts.incidents(), ["inc-a".into(), "inc-b".into()]);
        let repeated = |end: UnixMs| [("s".to_owned(), rfc3339(end))];
        for minute in 1..=20 {
            tokio::time::advance(MINUTE).await;
            assert_eq!(
                send(&alerts, minute * 60_000),
                repeated((minute + 5) * 60_000)
            );
            if minute == 10 {
                alerts.end_incident(&"inc-a".into(), 600_001);
            }
            // An update of the storm keeps the alert.
            alerts.begin("am", body("s", "1"), &about, false);
        }
        assert_eq!(alerts.incidents(), ["inc-b".into()]);
        alerts.end_incident(&"inc-b".into(), 1_200_001);
        assert_eq!(alerts.incidents(), []);
        assert_eq!(send(&alerts, 1_200_002), repeated(1_200_001));
        tokio::time::advance(10 * MINUTE).await;
        assert_eq!(send(&alerts, 1_800_002), []);
    }

    #[test]
    fn a_notice_without_an_end_is_not_followed_and_the_others_are_bounded() {
        let alerts = Alerts::default();
        assert!(alerts.begin("am", body("n", "0"), &about(None, None), true));
        assert!(alerts.known.lock().is_empty());
        for label in 0..MAX_ALERTS {
            assert!(alerts.begin(
                "am",
                body(&label.to_string(), "0"),
                &about(Some("i"), None),
                true
            ));
        }
        assert!(!alerts.begin("am", body("one more", "0"), &about(Some("i"), None), true));
        assert!(alerts.begin("am", body("7", "1"), &about(Some("i"), None), true));
    }
}
