//! Incidents as the executor knows them from the topic.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

use anomalyzer_domain::{Incident, IncidentEvent, IncidentId};

/// Open incidents, and a bounded number of closed ones. Clones share them.
#[derive(Clone, Default)]
pub struct OpenIncidents {
    known: Arc<RwLock<HashMap<IncidentId, Incident>>>,
}

impl OpenIncidents {
    /// Maximum number of closed incidents. A late solution finds that its incident is over.
    const MAX_CLOSED: usize = 1_000;

    /// Takes in an event, unless a newer one is known. An incident that closed stays closed.
    pub fn take(&self, event: &IncidentEvent) {
        let mut known = self.known.write();
        let newer = known.get(&event.incident.id).is_none_or(|old| {
            (old.is_open(), old.changed_at) <= (true, event.incident.changed_at) && old.is_open()
        });
        if newer {
            known.insert(event.incident.id.clone(), event.incident.clone());
        }
        let closed = known
            .values()
            .filter(|incident| !incident.is_open())
            .count();
        if closed > Self::MAX_CLOSED {
            let oldest = known
                .values()
                .filter(|i| !i.is_open())
                .min_by_key(|i| i.changed_at)
                .map(|i| i.id.clone());
            if let Some(oldest) = oldest {
                known.remove(&oldest);
            }
        }
    }

    /// Returns an incident, if it is known.
    pub fn get(&self, id: &IncidentId) -> Option<Incident> {
        self.known.read().get(id).cloned()
    }

    /// Counts the open incidents.
    pub fn count(&self) -> usize {
        let known = self.known.read();
        known.values().filter(|incident| incident.is_open()).count()
    }

    /// Returns the open incidents.
    pub fn open(&self) -> Vec<Incident> {
        let known = self.known.read();
        known
            .values()
            .filter(|incident| incident.is_open())
            .cloned()
            .collect()
    }
}
