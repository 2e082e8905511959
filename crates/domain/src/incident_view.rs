//! The newest known state of an incident, built from the events of `incidents-topic`.
//!
//! Messages arrive at least once, and from several writers. [`IncidentView::supersedes`] is the one
//! rule that decides which of two states is newer.

use super::{Incident, IncidentEvent, IncidentEventKind, UnixMs};

/// An incident as its events describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentView {
    /// The newest state.
    pub incident: Incident,
    /// True if a diagnosis of the present findings was requested.
    pub confirmed: bool,
    /// Start of the time after which the present findings are confirmed.
    pub confirm_from: UnixMs,
}

impl IncidentView {
    /// Returns true if `incoming` replaces `known`, where both describe one incident or both
    /// describe incidents of one target.
    ///
    /// - An end is final: nothing replaces an incident that is over.
    /// - An end replaces every open state, because its writer knows all findings.
    /// - Of two open states the later change counts. A repeated state replaces itself, so that
    ///   events of equal time apply in the order of the topic.
    pub fn supersedes(incoming: &Incident, known: &Incident) -> bool {
        known.is_open() && (!incoming.is_open() || incoming.changed_at >= known.changed_at)
    }

    /// Returns the view after the first event of an incident.
    pub fn new(event: &IncidentEvent) -> Self {
        Self {
            incident: event.incident.clone(),
            confirmed: asks_for_diagnosis(event),
            confirm_from: event.incident.opened_at,
        }
    }

    /// Applies a later event of the same incident, unless the event is older than this view.
    /// Returns true if it was applied.
    pub fn apply(&mut self, event: &IncidentEvent) -> bool {
        if !Self::supersedes(&event.incident, &self.incident) {
            return false;
        }
        // Another series joined. The new picture is worth a diagnosis of its own.
        if self.confirmed && event.incident.findings.len() > self.incident.findings.len() {
            (self.confirmed, self.confirm_from) = (false, event.at);
        }
        self.confirmed |= asks_for_diagnosis(event);
        self.incident = event.incident.clone();
        true
    }

    /// Returns true if this view is of the same incident as `other`, and changed later.
    pub fn is_ahead_of(&self, other: &Incident) -> bool {
        self.incident.id == other.id && self.incident.changed_at > other.changed_at
    }
}

fn asks_for_diagnosis(event: &IncidentEvent) -> bool {
    matches!(
        event.kind,
        IncidentEventKind::Confirmed | IncidentEventKind::Gathered
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, finding};
    use IncidentEventKind::{Changed, Cleared, Confirmed, Opened};

    fn event(kind: IncidentEventKind, at: UnixMs, findings: &[&str]) -> IncidentEvent {
        let findings = findings.iter().map(|name| finding(name)).collect();
        let incident = Incident {
            changed_at: at,
            cleared_at: (kind == Cleared).then_some(at),
            ..testing::incident("a", findings)
        };
        IncidentEvent::new(kind, at, incident)
    }

    fn supersedes(
        incoming: (IncidentEventKind, UnixMs),
        known: (IncidentEventKind, UnixMs),
    ) -> bool {
        let incident = |(kind, at)| event(kind, at, &[]).incident;
        IncidentView::supersedes(&incident(incoming), &incident(known))
    }

    #[test]
    fn of_two_open_states_the_later_change_counts_and_a_repeated_one_replaces_itself() {
        assert!(supersedes((Changed, 2), (Opened, 1)));
        assert!(supersedes((Confirmed, 1), (Opened, 1)));
        assert!(!supersedes((Opened, 1), (Changed, 2)));
    }

    #[test]
    fn an_end_replaces_every_open_state_even_if_its_clock_was_behind() {
        assert!(supersedes((Cleared, 3), (Changed, 2)));
        assert!(supersedes((Cleared, 1), (Changed, 2)));
    }

    #[test]
    fn an_end_is_final() {
        assert!(!supersedes((Changed, 9), (Cleared, 2)));
        assert!(!supersedes((Cleared, 9), (Cleared, 2)));
    }

    #[test]
    fn the_order_of_two_states_does_not_matter_unless_they_are_of_one_time() {
        let states = [(Opened, 1), (Changed, 2), (Changed, 3), (Cleared, 2)];
        for first in states {
            for second in states.into_iter().filter(|second| *second != first) {
                assert_ne!(supersedes(first, second), supersedes(second, first));
            }
        }
    }

    #[test]
    fn a_confirmation_holds_until_another_series_joins() {
        let mut view = IncidentView::new(&event(Opened, 1, &["a"]));
        assert!(!view.confirmed);
        assert!(view.apply(&event(Confirmed, 1, &["a"])));
        assert!(view.apply(&event(Changed, 3, &["a"])));
        assert_eq!((view.confirmed, view.confirm_from), (true, 0));
        assert!(view.apply(&event(Changed, 4, &["a", "b"])));
        assert_eq!((view.confirmed, view.confirm_from), (false, 4));
    }

    #[test]
    fn an_older_event_changes_nothing() {
        let mut view = IncidentView::new(&event(Changed, 5, &["a"]));
        let before = view.clone();
        assert!(!view.apply(&event(Confirmed, 4, &["a", "b"])));
        assert_eq!(view, before);
    }

    #[test]
    fn only_a_later_change_of_the_same_incident_is_ahead() {
        let view = IncidentView::new(&event(Changed, 5, &["a"]));
        assert!(view.is_ahead_of(&event(Changed, 4, &["a"]).incident));
        assert!(!view.is_ahead_of(&event(Changed, 5, &["a"]).incident));
        let other = Incident {
            id: "b".into(),
            ..event(Changed, 4, &["a"]).incident
        };
        assert!(!view.is_ahead_of(&other));
    }
}
