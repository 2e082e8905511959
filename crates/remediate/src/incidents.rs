//! The incidents, as the acting half knows them.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

use anomalyzer_domain::{Incident, IncidentEvent, IncidentId};

/// The incidents as they are known to the acting half.
#[derive(Clone, Default)]
pub struct OpenIncidents {
    known: Arc<RwLock<HashMap<IncidentId, Incident>>>,
}

impl OpenIncidents {
    /// Closed incidents kept, so that a late solution finds that its incident is over.
    const MOST_CLOSED: usize = 1_000;

    /// Takes an event in.
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
        if closed > Self::MOST_CLOSED {
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

    /// One incident.
    pub fn get(&self, id: &IncidentId) -> Option<Incident> {
        self.known.read().get(id).cloned()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        let known = self.known.read();
        known.values().filter(|incident| incident.is_open()).count()
    }

    /// Those that are open.
    pub fn open(&self) -> Vec<Incident> {
        let known = self.known.read();
        known
            .values()
            .filter(|incident| incident.is_open())
            .cloned()
            .collect()
    }
}
