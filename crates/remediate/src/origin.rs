//! Whose a solution is. What a message says of itself proves nothing: whoever can write to the
//! topic could else command the cluster.
//!
//! A person's request counts by the record that the API made of it before it was published. What
//! our analyst proposes is known by an incident that is known here, its target, and the id that
//! follows from them. All else is someone else's.

use std::time::Duration;

use tokio::time::Instant;

use super::Actor;
use super::driver::{DriveError, Driver};
use super::proposal::see;
use anomalyzer_domain::{Decision, Incident, IncidentId, Provenance, Solution};

/// How long an incident may arrive after a solution that is about it: they travel on topics of
/// their own, and after a start it takes a while until both are read.
const LATE: Duration = if cfg!(test) {
    Duration::from_secs(3)
} else {
    Duration::from_secs(30)
};
/// How often is looked whether it has arrived.
const LOOK: Duration = Duration::from_millis(10);

impl Actor {
    /// Whether a solution that says it is our analyst's can be: its id is right, and so is its
    /// target, as far as is known yet.
    pub(super) async fn may_be_our_analysts(&self, claimed: &Solution) -> bool {
        let Some(incident) = &claimed.incident else {
            return false;
        };
        let id = Solution::id_of(incident, &claimed.solution_type, claimed.attempt);
        if claimed.provenance.source != Provenance::ENGINE || claimed.id != id.as_str() {
            return false;
        }
        let known = self.incident(incident).await;
        known.is_none_or(|known| claimed.target.as_ref() == Some(&known.target))
    }

    /// An incident as it is known here, by what was heard since the start, or from the history.
    pub(super) async fn incident(&self, id: &IncidentId) -> Option<Incident> {
        if let Some(incident) = self.incidents.get(id) {
            return Some(incident);
        }
        self.history.incident(id).await.unwrap_or_else(|error| {
            tracing::error!(incident.id = %id, %error, "an incident cannot be looked up; taken as unknown");
            None
        })
    }
}

impl Driver {
    /// Makes the acquaintance of the decision's incident. What says it is our analyst's waits for
    /// it, and is someone else's if it does not come, or is about another target.
    pub(super) async fn meet(&self, decision: &mut Decision) -> Result<(), DriveError> {
        let ours = decision.provenance.source == Provenance::ENGINE;
        let Some(id) = decision.incident.clone() else {
            return Ok(());
        };
        let deadline = Instant::now() + if ours { LATE } else { Duration::ZERO };
        let mut incident = self.incident(&id).await;
        while incident.is_none() && Instant::now() < deadline {
            self.wait(tokio::time::sleep(LOOK)).await?;
            incident = self.incidents.get(&id);
        }
        if let Some(incident) = &incident
            && decision.findings.is_empty()
        {
            see(decision, incident);
        }
        let theirs =
            incident.is_none_or(|incident| decision.target.as_ref() != Some(&incident.target));
        if ours && theirs {
            tracing::warn!(decision.id = %decision.id, incident.id = %id, "a solution is not our analyst's although it says so");
            decision.provenance = Provenance {
                source: Provenance::TOPIC.to_owned(),
                by: "a message that says it is our analyst's, about an incident and a target that are not known here"
                    .into(),
            };
        }
        Ok(())
    }
}
