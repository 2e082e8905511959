//! The incidents that the acting half knows.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

use anomalyzer_domain::{Incident, IncidentEvent, IncidentId, IncidentView};

/// The incidents that the acting half knows from `incidents-topic`. Clones share them.
#[derive(Clone, Default)]
pub struct OpenIncidents {
    known: Arc<RwLock<HashMap<IncidentId, IncidentView>>>,
}

impl OpenIncidents {
    /// Maximum number of closed incidents. They stay for a while, so that a late solution finds out
    /// that its incident is over.
    const MAX_CLOSED: usize = 1_000;

    /// Applies an event, unless it is older than the known state.
    pub fn take(&self, event: &IncidentEvent) {
        let mut known = self.known.write();
        known
            .entry(event.incident.id.clone())
            .and_modify(|view| {
                view.apply(event);
            })
            .or_insert_with(|| IncidentView::new(event));
        let closed = || {
            let incidents = known.values().map(|view| &view.incident);
            incidents.filter(|incident| !incident.is_open())
        };
        if closed().count() > Self::MAX_CLOSED {
            let oldest = closed().min_by_key(|incident| incident.changed_at);
            if let Some(oldest) = oldest.map(|incident| incident.id.clone()) {
                known.remove(&oldest);
            }
        }
    }

    /// Returns the incident `id`, open or closed.
    pub fn get(&self, id: &IncidentId) -> Option<Incident> {
        let known = self.known.read();
        known.get(id).map(|view| view.incident.clone())
    }

    /// Returns the number of open incidents.
    pub fn count(&self) -> usize {
        let known = self.known.read();
        let open = known.values().filter(|view| view.incident.is_open());
        open.count()
    }

    /// Returns the open incidents.
    pub fn open(&self) -> Vec<Incident> {
        let known = self.known.read();
        let open = known.values().filter(|view| view.incident.is_open());
        open.map(|view| view.incident.clone()).collect()
    }
}
