//! Provenance of a solution: a person, our analyst, or someone else.
//!
//! A message proves nothing about its sender. If its statements were believed, everyone who can
//! write to the topic could command the cluster. A person's request counts because the API recorded
//! it before it was published. A solution counts as our analyst's if its incident is known here,
//! its target is the incident's, and its id follows from them. Every other solution is someone
//! else's.

use std::time::Duration;

use tokio::time::Instant;

use super::Executor;
use super::decision_run::{DecisionRun, RunError};
use super::proposal::attach_incident;
use anomalyzer_domain::{Decision, Incident, IncidentId, Provenance, Solution};

/// Maximum time by which a solution may arrive before its incident. Incidents and solutions travel
/// on separate topics, and after a start it takes a while until both are read.
const INCIDENT_TIMEOUT: Duration = if cfg!(test) {
    Duration::from_secs(3)
} else {
    Duration::from_secs(30)
};
/// Interval at which a decision checks for its incident.
const INCIDENT_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Returns true if a solution that claims to be our analyst's can be: its id is right, and so is
/// its target unless the incident is not known yet.
pub(super) async fn is_plausibly_ours(executor: &Executor, claimed: &Solution) -> bool {
    let Some(incident_id) = &claimed.incident else {
        return false;
    };
    let id = Solution::id_of(incident_id, &claimed.solution_type, claimed.attempt);
    if claimed.provenance.source != Provenance::ENGINE || claimed.id != id.as_str() {
        return false;
    }
    incident(executor, incident_id)
        .await
        .is_none_or(|known| claimed.target.as_ref() == Some(&known.target))
}

/// Returns an incident as it is known here: from the topic since the start, or from the history.
pub(super) async fn incident(executor: &Executor, id: &IncidentId) -> Option<Incident> {
    if let Some(incident) = executor.incidents.get(id) {
        return Some(incident);
    }
    executor.history.incident(id).await.unwrap_or_else(|error| {
        tracing::error!(incident.id = %id, %error, "cannot look up incident; treating it as unknown");
        None
    })
}

/// Attaches the decision's incident. A decision that claims to be our analyst's waits for its
/// incident, and becomes someone else's if the incident does not arrive or has another target.
pub(super) async fn await_incident(
    run: &DecisionRun,
    decision: &mut Decision,
) -> Result<(), RunError> {
    let ours = decision.provenance.source == Provenance::ENGINE;
    let Some(id) = decision.incident.clone() else {
        return Ok(());
    };
    let timeout = if ours {
        INCIDENT_TIMEOUT
    } else {
        Duration::ZERO
    };
    let deadline = Instant::now() + timeout;
    let mut known = incident(&run.executor, &id).await;
    while known.is_none() && Instant::now() < deadline {
        run.wait(tokio::time::sleep(INCIDENT_CHECK_INTERVAL))
            .await?;
        known = run.executor.incidents.get(&id);
    }
    if let Some(incident) = &known
        && decision.findings.is_empty()
    {
        attach_incident(decision, incident);
    }
    let theirs = known.is_none_or(|incident| decision.target.as_ref() != Some(&incident.target));
    if ours && theirs {
        tracing::warn!("solution claims to be our analyst's and is not: treating it as foreign");
        decision.provenance = Provenance {
            source: Provenance::TOPIC.to_owned(),
            by: "a message that says it is our analyst's, about an incident and a target that are not known here"
                .into(),
        };
    }
    Ok(())
}
