//! The incidents of `incidents-topic`, whichever engine wrote them: an engine that starts, or that
//! takes over the targets of another, goes on with theirs.

use parking_lot::RwLock;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Replay};
use crate::codec;
use crate::domain::{
    Incident, IncidentEvent, IncidentEventKind, IncidentId, Target, Topic, UnixMs,
};

/// Most open incidents that are kept; beyond that the one that changed longest ago is forgotten.
const MOST_OPEN: usize = 20_000;
/// So many that ended are remembered, so that an event that is delivered again does not open one of
/// them anew.
const MOST_ENDED: usize = 20_000;
/// Messages read at once, and how long the first is waited for.
const MOST_MESSAGES: usize = 256;
const PATIENCE: Duration = Duration::from_millis(500);

/// An open incident, and what is not in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownIncident {
    pub incident: Incident,
    /// Whether a diagnosis was asked for, of the findings that it has.
    pub confirmed: bool,
    /// From when the time for confirmation runs.
    pub confirm_from: UnixMs,
}

#[derive(Default)]
struct Known {
    open: HashMap<Target, KnownIncident>,
    ended: HashSet<IncidentId>,
    ended_first: VecDeque<IncidentId>,
}

/// What is open, shared between who follows the topic and the engine. Clones share it.
#[derive(Clone)]
pub struct KnownIncidents {
    known: Arc<RwLock<Known>>,
    caught_up: watch::Sender<bool>,
}

impl Default for KnownIncidents {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            caught_up: watch::Sender::new(false),
        }
    }
}

impl KnownIncidents {
    /// Takes an event in. An older one than is known changes nothing.
    pub fn take(&self, event: &IncidentEvent) {
        let incident = &event.incident;
        let mut known = self.known.write();
        if known.ended.contains(&incident.id) {
            return;
        }
        let before = known.open.get(&incident.target);
        if !incident.is_open() {
            if before.is_some_and(|before| before.incident.id == incident.id) {
                known.open.remove(&incident.target);
            }
            known.end(incident.id.clone());
            return;
        }
        if before.is_some_and(|before| before.incident.changed_at > incident.changed_at) {
            return;
        }
        let mut now = KnownIncident {
            incident: incident.clone(),
            confirmed: false,
            confirm_from: incident.opened_at,
        };
        if let Some(before) = before.filter(|before| before.incident.id == incident.id) {
            (now.confirmed, now.confirm_from) = (before.confirmed, before.confirm_from);
            // Another series joined: another picture, which is worth a diagnosis of its own.
            if before.confirmed && incident.findings.len() > before.incident.findings.len() {
                (now.confirmed, now.confirm_from) = (false, event.at);
            }
        }
        now.confirmed |= matches!(
            event.kind,
            IncidentEventKind::Confirmed | IncidentEventKind::Gathered
        );
        known.open.insert(incident.target.clone(), now);
        if known.open.len() > MOST_OPEN {
            let oldest = known
                .open
                .values()
                .min_by_key(|one| one.incident.changed_at);
            if let Some(oldest) = oldest.map(|one| one.incident.target.clone()) {
                known.open.remove(&oldest);
            }
        }
    }

    /// Takes in what was kept for longer than the topic keeps it, and so was diagnosed long ago.
    /// What the topic says counts more.
    pub fn seed(&self, incident: Incident) {
        let mut known = self.known.write();
        if !incident.is_open()
            || known.ended.contains(&incident.id)
            || known.open.contains_key(&incident.target)
        {
            return;
        }
        let confirm_from = incident.opened_at;
        known.open.insert(
            incident.target.clone(),
            KnownIncident {
                incident,
                confirmed: true,
                confirm_from,
            },
        );
    }

    /// What is open on a target.
    pub(super) fn on(&self, target: &Target) -> Option<KnownIncident> {
        self.known.read().open.get(target).cloned()
    }

    /// All that are open.
    pub(super) fn open(&self) -> Vec<KnownIncident> {
        self.known.read().open.values().cloned().collect()
    }

    /// Whether someone else went on with an incident: it ended, or changed since.
    pub(super) fn went_on(&self, incident: &Incident) -> bool {
        let known = self.known.read();
        let newer = |known: &KnownIncident| {
            known.incident.id == incident.id && known.incident.changed_at > incident.changed_at
        };
        known.ended.contains(&incident.id) || known.open.get(&incident.target).is_some_and(newer)
    }

    /// Reads the topic from its oldest message on, and follows it until told to stop.
    ///
    /// # Errors
    /// The bus.
    pub async fn follow(&self, bus: &dyn Bus, shutdown: CancellationToken) -> Result<(), BusError> {
        let Replay {
            mut subscription,
            mut ends,
        } = bus.replay(Topic::Incidents).await?;
        loop {
            if ends.is_empty() {
                self.caught_up.send_replace(true);
            }
            let deliveries = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                deliveries = subscription.next(MOST_MESSAGES, PATIENCE) => deliveries?,
            };
            for delivery in deliveries {
                // What can't be read is set aside by the consumers whose group it is.
                if let Ok(event) = codec::incidents::decode(&delivery) {
                    self.take(&event);
                }
                if ends
                    .get(&delivery.partition)
                    .is_some_and(|end| delivery.offset + 1 >= *end)
                {
                    ends.remove(&delivery.partition);
                }
            }
        }
    }

    /// Waits until [`KnownIncidents::follow`] has read what there was when it began. False when
    /// that took longer.
    pub async fn caught_up(&self, within: Duration) -> bool {
        let mut caught_up = self.caught_up.subscribe();
        tokio::time::timeout(within, caught_up.wait_for(|caught_up| *caught_up))
            .await
            .is_ok_and(|word| word.is_ok())
    }
}

impl Known {
    fn end(&mut self, id: IncidentId) {
        self.ended.insert(id.clone());
        self.ended_first.push_back(id);
        if self.ended_first.len() > MOST_ENDED
            && let Some(oldest) = self.ended_first.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::local::{LocalBus, LocalBusConfig};
    use crate::domain::Coverage;
    use IncidentEventKind::{Changed, Cleared, Confirmed, Opened};

    fn event(kind: IncidentEventKind, id: &str, at: UnixMs) -> IncidentEvent {
        let incident = Incident {
            id: id.into(),
            target: Target::new("", "Process", "web"),
            opened_at: 0,
            changed_at: at,
            cleared_at: (kind == Cleared).then_some(at),
            findings: vec![],
            coverage: Coverage::default(),
            samples: vec![],
            foreign: false,
        };
        IncidentEvent {
            kind,
            at,
            incident,
            evidence: vec![],
            attempt: 0,
            witnesses: vec![],
        }
    }

    /// Id, last change and confirmation of what is open after these events.
    fn after(events: &[(IncidentEventKind, &str, UnixMs)]) -> Option<(String, UnixMs, bool)> {
        let known = KnownIncidents::default();
        events
            .iter()
            .for_each(|(kind, id, at)| known.take(&event(*kind, id, *at)));
        let open = known.on(&Target::new("", "Process", "web"));
        open.map(|open| {
            (
                open.incident.id.to_string(),
                open.incident.changed_at,
                open.confirmed,
            )
        })
    }

    #[test]
    fn the_last_state_of_an_incident_counts() {
        assert_eq!(
            after(&[(Opened, "a", 1), (Changed, "a", 2)]),
            Some(("a".into(), 2, false))
        );
        assert_eq!(
            after(&[(Opened, "a", 1), (Confirmed, "a", 1), (Changed, "a", 3)]),
            Some(("a".into(), 3, true))
        );
        assert_eq!(after(&[(Opened, "a", 1), (Cleared, "a", 2)]), None);
        assert_eq!(
            after(&[(Opened, "a", 1), (Cleared, "a", 2), (Opened, "b", 3)]),
            Some(("b".into(), 3, false))
        );
    }

    #[test]
    fn what_is_delivered_again_opens_nothing_and_takes_nothing_back() {
        assert_eq!(
            after(&[(Opened, "a", 1), (Cleared, "a", 2), (Opened, "a", 1)]),
            None
        );
        assert_eq!(
            after(&[(Opened, "a", 1), (Confirmed, "a", 2), (Opened, "a", 1)]),
            Some(("a".into(), 2, true))
        );
    }

    #[test]
    fn what_is_kept_elsewhere_counts_only_where_the_topic_says_nothing() {
        let known = KnownIncidents::default();
        known.take(&event(Cleared, "a", 2));
        known.seed(event(Opened, "a", 1).incident);
        assert!(known.open().is_empty());
        known.seed(event(Opened, "b", 3).incident);
        known.seed(event(Opened, "c", 4).incident);
        let [open] = &known.open()[..] else {
            panic!("{:?}", known.open())
        };
        assert_eq!((open.incident.id.as_str(), open.confirmed), ("b", true));
    }

    #[test]
    fn what_someone_else_went_on_with_is_told_from_what_is_known_as_it_is() {
        let known = KnownIncidents::default();
        let mine = event(Opened, "a", 1);
        known.take(&mine);
        assert!(!known.went_on(&mine.incident));
        known.take(&event(Changed, "a", 2));
        assert!(known.went_on(&mine.incident));
        known.take(&event(Cleared, "a", 3));
        assert!(known.went_on(&event(Changed, "a", 9).incident));
    }

    #[test]
    fn of_too_many_the_one_that_changed_longest_ago_is_forgotten() {
        let known = KnownIncidents::default();
        for number in 0..=MOST_OPEN {
            let mut event = event(Opened, &number.to_string(), number as UnixMs);
            event.incident.target.name = number.to_string();
            known.take(&event);
        }
        assert_eq!(known.open().len(), MOST_OPEN);
        assert_eq!(known.on(&Target::new("", "Process", "0")), None);
    }

    #[tokio::test]
    async fn the_topic_is_read_to_its_end_and_followed_from_there() {
        let folder = tempfile::tempdir().unwrap();
        let bus = LocalBus::open(&folder.path().join("bus.sqlite"), LocalBusConfig::default())
            .await
            .unwrap();
        for event in [
            event(Opened, "a", 1),
            event(Cleared, "a", 2),
            event(Opened, "b", 3),
        ] {
            bus.publish(Topic::Incidents, codec::incidents::encode(&event))
                .await
                .unwrap();
        }
        let (known, shutdown) = (KnownIncidents::default(), CancellationToken::new());
        assert!(
            !known.caught_up(Duration::ZERO).await,
            "nobody has read anything yet"
        );
        let reading = async {
            assert!(known.caught_up(Duration::from_secs(60)).await);
            let web = Target::new("", "Process", "web");
            assert_eq!(known.on(&web).unwrap().incident.id.as_str(), "b");
            bus.publish(
                Topic::Incidents,
                codec::incidents::encode(&event(Cleared, "b", 4)),
            )
            .await
            .unwrap();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
            while known.on(&web).is_some() {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "what came later was not read"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            shutdown.cancel();
        };
        let (followed, ()) = tokio::join!(known.follow(&bus, shutdown.clone()), reading);
        followed.unwrap();
    }
}
