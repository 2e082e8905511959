//! Alerts of open incidents: an Alertmanager hears of each one again while its incident is open,
//! and once of its end.
//!
//! The record tells which alerts there are, so that a server that starts or takes over continues
//! them.

use std::time::Duration;

use super::attempt::about;
use super::decision_run::{DecisionRun, RunError};
use super::effects::is_done;
use anomalyzer_bus::retry::Backoff;
use anomalyzer_domain::{
    Decision, IncidentId, Notice, Operation, OperationId, OperationRecord, UnixMs,
};
use anomalyzer_egress::notify::{About, JOINED};
use anomalyzer_history::{HistoryError, Page};

/// Longest interval between two looks at the incidents.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Number of decisions that are read at once.
const PAGE: u32 = 200;

/// Continues the alerts on record, then follows all alerts until the run is told to stop.
pub(super) async fn follow_alerts(run: &DecisionRun) {
    let mut pauses = Backoff::default();
    while let Err(error) = restore(run).await {
        tracing::error!(%error, "cannot read the alerts of open incidents; retrying");
        if !pauses.wait(&run.stop).await {
            return;
        }
    }
    let interval = run.executor.dispatcher.notifier.resend_interval();
    let interval = CHECK_INTERVAL.min(interval / 4);
    loop {
        let look = async {
            follow_once(run).await;
            tokio::time::sleep(interval).await;
        };
        if let Err(RunError::Cancelled) = run.wait(look).await {
            return;
        }
    }
}

/// Ends the alerts whose incident is over, and sends the due alerts again.
async fn follow_once(run: &DecisionRun) {
    let notifier = &run.executor.dispatcher.notifier;
    for incident in notifier.alerted_incidents() {
        if let Some(at) = over_since(run, &incident).await {
            notifier.end_incident(&incident, at);
        }
    }
    notifier.resend_alerts().await;
}

/// Returns the time since which an incident is over. An incident that nobody knows is over: its
/// record was removed.
async fn over_since(run: &DecisionRun, id: &IncidentId) -> Option<UnixMs> {
    let executor = &*run.executor;
    let known = match executor.incidents.get(id) {
        Some(incident) => Some(incident),
        None => match executor.history.incident(id).await {
            Ok(incident) => incident,
            Err(error) => {
                tracing::warn!(incident.id = %id, %error, "cannot look up an alerted incident; retrying");
                return None;
            }
        },
    };
    known.map_or_else(|| Some((executor.clock)()), |incident| incident.cleared_at)
}

/// Follows the alerts that were sent for the open incidents, from the newest to the oldest.
async fn restore(run: &DecisionRun) -> Result<(), HistoryError> {
    let mut next = Some(Page {
        limit: PAGE,
        ..Page::default()
    });
    while let Some(page) = next {
        let history = &run.executor.history;
        let (decisions, after) = history.decisions_of_open_incidents(page).await?;
        for decision in &decisions {
            restore_alerts(run, decision);
        }
        next = after.map(|after| Page {
            after: Some(after),
            ..page
        });
    }
    Ok(())
}

fn restore_alerts(run: &DecisionRun, decision: &Decision) {
    for record in decision.operations.iter().filter(|record| is_done(record)) {
        if let Operation::Notify(notice) = &record.operation {
            let about = about(decision, record, record.asked_at);
            let notifier = &run.executor.dispatcher.notifier;
            match &about.incident {
                Some(incident) if joined_a_storm(record) => {
                    let (storm, notice, about) = storm_before(notice, &about);
                    notifier.join_storm(&storm, incident);
                    notifier.restore_alert(&notice, &about);
                }
                _ => notifier.restore_alert(notice, &about),
            }
        }
    }
}

/// Returns true if the notice of a storm told of the alarm.
fn joined_a_storm(record: &OperationRecord) -> bool {
    let outcome = record.outcome.as_ref();
    outcome.is_some_and(|outcome| outcome.detail.get(JOINED).is_some())
}

/// Returns the one alert that continues the alarms of storms before a restart.
fn storm_before(notice: &Notice, about: &About) -> (OperationId, Notice, About) {
    let storm = OperationId::derive(&["storm", "before a restart", &notice.channel]);
    let notice = Notice {
        channel: notice.channel.clone(),
        title: "a storm of alarms that began before the restart of this service".to_owned(),
        text: "all of them: GET /api/v1/incidents?open=true".to_owned(),
    };
    let about = About {
        operation: storm.clone(),
        incident: None,
        target: None,
        storm: Some(storm.clone()),
        ..about.clone()
    };
    (storm, notice, about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rig::{Rig, event, incident, interrupted, proposal, recorded_as};
    use anomalyzer_domain::{DecisionState, Outcome, OutcomeKind, solutions};
    use anomalyzer_egress::notify::{ChannelConfig, ChannelKind, Notifier, NotifyConfig};
    use anomalyzer_history::DecisionEventKind;
    use std::sync::Arc;

    /// Builds a notifier whose only channel is an Alertmanager at which nobody listens.
    fn notifier() -> Notifier {
        let url = Some("http://127.0.0.1:9".to_owned());
        let mut channel = ChannelConfig::new(ChannelKind::Alertmanager, url);
        channel.default = true;
        Notifier::new(NotifyConfig {
            channels: [("am".to_owned(), channel)].into(),
            ..NotifyConfig::default()
        })
        .unwrap()
    }

    #[tokio::test]
    async fn the_alerts_on_record_are_continued_after_a_restart_until_their_incident_is_over() {
        for detail in [
            serde_json::Value::Null,
            serde_json::json!({"joined": "a storm"}),
        ] {
            continued_until_over(detail).await;
        }
    }

    /// Checks the alert of an alarm whose outcome has this detail.
    async fn continued_until_over(detail: serde_json::Value) {
        let rig = Rig::with(|executor| executor.dispatcher.notifier = Arc::new(notifier())).await;
        let mut open = incident(&["latency"]);
        rig.executor
            .history
            .record_incident(&event(&open))
            .await
            .unwrap();
        let mut told = rig.decision(&proposal(&open, solutions::ALARM, 0));
        let notice = Operation::Notify(Notice {
            channel: "default".into(),
            title: "latency".into(),
            text: String::new(),
        });
        let mut record = interrupted(&told, notice);
        record.outcome = Some(Outcome {
            kind: OutcomeKind::Done,
            detail,
        });
        told.operations.push(record);
        let told = recorded_as(&told, DecisionState::Done);
        rig.executor
            .record(DecisionEventKind::Ended, &told, None)
            .await
            .unwrap();
        let run = rig.run();
        restore(&run).await.unwrap();
        let notifier = &rig.executor.dispatcher.notifier;
        assert_eq!(notifier.alerted_incidents(), [open.id.clone()]);
        follow_once(&run).await;
        assert_eq!(notifier.alerted_incidents(), [open.id.clone()]);
        open.changed_at += 1;
        open.cleared_at = Some(open.changed_at);
        rig.executor.incidents.take(&event(&open));
        follow_once(&run).await;
        assert_eq!(notifier.alerted_incidents(), []);
    }
}
