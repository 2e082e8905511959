//! The open incidents as `incidents-topic` tells them, whichever engine wrote the events. An engine
//! that starts, or that takes over targets of another engine, continues with these incidents.

use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{self as bus, Batch, Bus, BusError, OnReadError, Replay, Subscription};
use anomalyzer_domain::{
    Delivery, Incident, IncidentEvent, IncidentId, IncidentView, Target, Topic,
};

/// Maximum number of open incidents. Beyond it, the incident with the oldest change is forgotten.
const MAX_OPEN: usize = 20_000;
/// Maximum number of ended incidents whose ids are kept, so that a repeated event opens none of
/// them anew.
const MAX_ENDED: usize = 20_000;
/// Bounds of one read of the topic.
const BATCH: Batch = Batch {
    topic: Topic::Incidents,
    max: 256,
    wait: Duration::from_millis(500),
    on_error: OnReadError::Return,
};

#[derive(Default)]
struct Known {
    open: HashMap<Target, IncidentView>,
    ended: HashSet<IncidentId>,
    /// The ended incidents, oldest first.
    ended_order: VecDeque<IncidentId>,
}

/// The open incidents, shared by the reader of the topic and the engine. Clones share them.
#[derive(Clone)]
pub struct IncidentLog {
    known: Arc<RwLock<Known>>,
    caught_up: watch::Sender<bool>,
}

impl Default for IncidentLog {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            caught_up: watch::Sender::new(false),
        }
    }
}

impl IncidentLog {
    /// Applies an event, unless it is older than the known state.
    pub fn take(&self, event: &IncidentEvent) {
        self.known.write().take(event);
    }

    /// Adds an incident from a store that keeps incidents longer than the topic does. Its diagnosis
    /// counts as requested, and the topic takes precedence.
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
            IncidentView {
                incident,
                confirmed: true,
                confirm_from,
            },
        );
    }

    /// Returns the open incident of a target.
    pub(super) fn on(&self, target: &Target) -> Option<IncidentView> {
        self.known.read().open.get(target).cloned()
    }

    /// Returns all open incidents.
    pub(super) fn open(&self) -> Vec<IncidentView> {
        self.known.read().open.values().cloned().collect()
    }

    /// Returns true if another engine continued with an incident: the incident ended, or changed
    /// later than this state of it.
    pub(super) fn went_on(&self, incident: &Incident) -> bool {
        let known = self.known.read();
        known.ended.contains(&incident.id)
            || known
                .open
                .get(&incident.target)
                .is_some_and(|view| view.is_ahead_of(incident))
    }

    /// Reads the topic from its oldest message on, and follows it until `shutdown`.
    ///
    /// # Errors
    /// A failure of the bus.
    pub async fn follow(&self, bus: &dyn Bus, shutdown: CancellationToken) -> Result<(), BusError> {
        let Replay {
            mut subscription,
            ends,
        } = bus.replay(Topic::Incidents).await?;
        let mut follower = Follower { log: self, ends };
        bus::consume(subscription.as_mut(), BATCH, &shutdown, &mut follower).await?;
        Ok(())
    }

    /// Waits until [`IncidentLog::follow`] has read all messages that existed when it started.
    /// Returns false if that takes longer than `within`.
    pub async fn caught_up(&self, within: Duration) -> bool {
        let mut caught_up = self.caught_up.subscribe();
        tokio::time::timeout(within, caught_up.wait_for(|caught_up| *caught_up))
            .await
            .is_ok_and(|result| result.is_ok())
    }
}

impl Known {
    fn take(&mut self, event: &IncidentEvent) {
        let incident = &event.incident;
        if self.ended.contains(&incident.id) {
            return;
        }
        let view = self.open.get_mut(&incident.target);
        let is_same = view
            .as_ref()
            .is_some_and(|view| view.incident.id == incident.id);
        if !incident.is_open() {
            if is_same {
                self.open.remove(&incident.target);
            }
            self.end(incident.id.clone());
            return;
        }
        match view {
            Some(view) if is_same => {
                view.apply(event);
            }
            Some(view) if !IncidentView::supersedes(incident, &view.incident) => {}
            Some(view) => *view = IncidentView::new(event),
            None => {
                let view = IncidentView::new(event);
                self.open.insert(incident.target.clone(), view);
                self.forget_oldest();
            }
        }
    }

    /// Forgets the incident with the oldest change if too many are open.
    fn forget_oldest(&mut self) {
        if self.open.len() <= MAX_OPEN {
            return;
        }
        let incidents = self.open.values().map(|view| &view.incident);
        let oldest = incidents.min_by_key(|incident| incident.changed_at);
        if let Some(target) = oldest.map(|incident| incident.target.clone()) {
            self.open.remove(&target);
        }
    }

    /// Notes that an incident ended.
    fn end(&mut self, id: IncidentId) {
        self.ended.insert(id.clone());
        self.ended_order.push_back(id);
        if self.ended_order.len() > MAX_ENDED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

/// Applies the events of the topic to the log.
struct Follower<'a> {
    log: &'a IncidentLog,
    /// For each partition that has not caught up: the offset after its last message at the start.
    ends: BTreeMap<i32, i64>,
}

impl bus::Handler for Follower<'_> {
    type Error = BusError;

    async fn before_read(
        &mut self,
        _: &mut dyn Subscription,
        batch: Batch,
    ) -> Result<ControlFlow<(), Batch>, BusError> {
        if self.ends.is_empty() {
            self.log.caught_up.send_replace(true);
        }
        Ok(ControlFlow::Continue(batch))
    }

    async fn handle(
        &mut self,
        deliveries: Vec<Delivery>,
        subscription: &mut dyn Subscription,
    ) -> Result<ControlFlow<()>, BusError> {
        for delivery in deliveries {
            // The consumers with a group set unreadable messages aside.
            if let Ok(event) = anomalyzer_wire::incidents::decode(&delivery) {
                self.log.take(&event);
            }
            let end = self.ends.get(&delivery.partition);
            if end.is_some_and(|end| delivery.offset + 1 >= *end) {
                self.ends.remove(&delivery.partition);
            }
        }
        self.ends
            .retain(|partition, end| !subscription.has_read_to(*partition, *end));
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use IncidentEventKind::{Changed, Cleared, Confirmed, Opened};
    use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
    use anomalyzer_domain::testing::{self, web_process};
    use anomalyzer_domain::{IncidentEventKind, UnixMs};

    fn event(kind: IncidentEventKind, id: &str, at: UnixMs) -> IncidentEvent {
        let incident = Incident {
            target: web_process(),
            changed_at: at,
            cleared_at: (kind == Cleared).then_some(at),
            ..testing::incident(id, vec![])
        };
        IncidentEvent::new(kind, at, incident)
    }

    /// Returns id, last change and confirmation of the incident that is open after these events.
    fn after(events: &[(IncidentEventKind, &str, UnixMs)]) -> Option<(String, UnixMs, bool)> {
        let known = IncidentLog::default();
        events
            .iter()
            .for_each(|(kind, id, at)| known.take(&event(*kind, id, *at)));
        let open = known.on(&web_process());
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
        let known = IncidentLog::default();
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
        let known = IncidentLog::default();
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
        let known = IncidentLog::default();
        for number in 0..=MAX_OPEN {
            let mut event = event(Opened, &number.to_string(), number as UnixMs);
            event.incident.target.name = number.to_string();
            known.take(&event);
        }
        assert_eq!(known.open().len(), MAX_OPEN);
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
            bus.publish(Topic::Incidents, anomalyzer_wire::incidents::encode(&event))
                .await
                .unwrap();
        }
        let (known, shutdown) = (IncidentLog::default(), CancellationToken::new());
        assert!(
            !known.caught_up(Duration::ZERO).await,
            "nobody has read anything yet"
        );
        let reading = async {
            assert!(known.caught_up(Duration::from_secs(60)).await);
            let web = web_process();
            assert_eq!(known.on(&web).unwrap().incident.id.as_str(), "b");
            bus.publish(
                Topic::Incidents,
                anomalyzer_wire::incidents::encode(&event(Cleared, "b", 4)),
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
