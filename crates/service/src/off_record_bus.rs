//! Bus that keeps telling people while its disk is full.
//!
//! An incident event that the disk has no room for waits in memory, and people are told of its
//! incident at once. The events follow on the bus, in order, when there is room again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use anomalyzer_bus::{Bus, BusError, BusLayer};
use anomalyzer_domain::{Delivery, IncidentEvent, IncidentEventKind, Record, Topic};
use anomalyzer_remediate::{OffRecord, Unrecorded};

/// Maximum number of events that wait in memory.
const MAX_WAITING: usize = 10_000;
/// Interval between two attempts to publish the waiting events.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Bus in this process, with the events that its disk has no room for.
pub(super) struct OffRecordBus {
    bus: Arc<dyn Bus>,
    off_record: OffRecord,
    waiting: Mutex<VecDeque<Record>>,
}

impl OffRecordBus {
    pub(super) fn new(bus: Arc<dyn Bus>, off_record: OffRecord) -> Self {
        Self {
            bus,
            off_record,
            waiting: Mutex::default(),
        }
    }

    /// Publishes the waiting events once the disk has room, until the shutdown.
    pub(super) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
            }
            let mut waiting = self.waiting.lock().await;
            while let Some(record) = waiting.front() {
                if self
                    .bus
                    .publish(Topic::Incidents, record.clone())
                    .await
                    .is_err()
                {
                    break;
                }
                waiting.pop_front();
            }
        }
    }

    /// Publishes an incident event, or keeps it and tells people.
    async fn publish_incident(&self, record: Record) -> Result<(), BusError> {
        let mut waiting = self.waiting.lock().await;
        let problem = if waiting.is_empty() {
            match self.bus.publish(Topic::Incidents, record.clone()).await {
                Err(BusError::Store(problem)) => problem,
                result => return result,
            }
        } else {
            "events before it wait for room on the disk".to_owned()
        };
        if waiting.len() >= MAX_WAITING {
            return Err(BusError::Store(problem));
        }
        if let Some(unrecorded) = about(&record, &problem) {
            let off_record = self.off_record.clone();
            tokio::spawn(async move { off_record.tell(unrecorded).await });
        }
        waiting.push_back(record);
        Ok(())
    }
}

/// Returns the notice about an incident that began. Later events of the incident are no news.
fn about(record: &Record, problem: &str) -> Option<Unrecorded> {
    let delivery = Delivery {
        topic: Topic::Incidents,
        partition: 0,
        offset: 0,
        published_at: None,
        record: record.clone(),
    };
    let event = anomalyzer_wire::incidents::decode(&delivery).ok()?;
    let IncidentEvent { kind, incident, .. } = event;
    if !matches!(
        kind,
        IncidentEventKind::Opened | IncidentEventKind::Confirmed
    ) {
        return None;
    }
    let reasons = incident.findings.iter().take(3);
    let reasons: Vec<_> = reasons
        .map(|finding| format!("{}: {}", finding.signal, finding.reason))
        .collect();
    Some(Unrecorded {
        key: incident.id.to_string(),
        title: format!(
            "incident on {}: nothing is done, because nothing can be recorded",
            incident.target
        ),
        text: format!("{}\n{problem}", reasons.join("\n")),
        incident: Some(incident.id),
        target: Some(incident.target),
    })
}

#[async_trait]
impl BusLayer for OffRecordBus {
    fn below(&self) -> &dyn Bus {
        self.bus.as_ref()
    }

    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        match topic {
            Topic::Incidents => self.publish_incident(record).await,
            _ => self.bus.publish(topic, record).await,
        }
    }

    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        if topic != Topic::Incidents {
            return self.bus.publish_all(topic, records).await;
        }
        {
            let waiting = self.waiting.lock().await;
            if waiting.is_empty() {
                match self.bus.publish_all(topic, records).await {
                    // Each event then waits by itself.
                    Err(BusError::Store(_)) => {}
                    result => return result,
                }
            }
        }
        for record in records {
            self.publish_incident(record.clone()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
    use anomalyzer_common::clock::now_ms;
    use anomalyzer_domain::testing;
    use anomalyzer_egress::notify::{Notifier, NotifyConfig};

    use super::*;

    fn event(kind: IncidentEventKind) -> Record {
        let incident = testing::incident("inc-1", vec![]);
        anomalyzer_wire::incidents::encode(&IncidentEvent::new(kind, 7, incident))
    }

    #[test]
    fn the_beginning_of_an_incident_is_news_and_its_end_is_none() {
        for (kind, news) in [
            (IncidentEventKind::Opened, true),
            (IncidentEventKind::Confirmed, true),
            (IncidentEventKind::Changed, false),
            (IncidentEventKind::Cleared, false),
        ] {
            let about = about(&event(kind), "the disk is full");
            assert_eq!(about.is_some(), news, "{kind:?}");
            assert!(about.is_none_or(|about| about.text.contains("the disk is full")));
        }
    }

    #[tokio::test]
    async fn events_that_a_full_disk_does_not_take_wait_in_their_order() {
        let name = format!("anomalyzer-off-record-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config = LocalBusConfig {
            max_bytes: 0,
            ..LocalBusConfig::default()
        };
        let full = LocalBus::open(&folder.join("bus.sqlite"), config)
            .await
            .unwrap();
        let filler = Record {
            payload: vec![7; 10_000].into(),
            ..Record::default()
        };
        while full.publish(Topic::Decisions, filler.clone()).await.is_ok() {}
        let notifier = Arc::new(Notifier::new(NotifyConfig::default()).unwrap());
        let off_record = OffRecord::new(notifier, Arc::new(now_ms));
        let bus = OffRecordBus::new(Arc::new(full), off_record);
        // Small events may still fit into the last page.
        let mut published = 0;
        while bus.waiting.lock().await.len() < 2 {
            let kind = match bus.waiting.lock().await.len() {
                0 => IncidentEventKind::Opened,
                _ => IncidentEventKind::Cleared,
            };
            let record = event(kind);
            Bus::publish(&bus, Topic::Incidents, record).await.unwrap();
            published += 1;
            assert!(published < 1_000, "the disk is never full");
        }
        let waiting = bus.waiting.lock().await;
        let expected = [IncidentEventKind::Opened, IncidentEventKind::Cleared].map(event);
        assert!(waiting.iter().eq(&expected));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
