//! Many sources fall silent at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use anomalyzer_bus::{BusError, BusLayer};
use anomalyzer_domain::Record;
use async_trait::async_trait;

const TARGETS: usize = 600;

/// Bus that counts the durable writes.
struct Counting {
    bus: Arc<dyn Bus>,
    writes: AtomicUsize,
}

#[async_trait]
impl BusLayer for Counting {
    fn below(&self) -> &dyn Bus {
        self.bus.as_ref()
    }

    async fn publish(&self, topic: Topic, record: Record) -> Result<(), BusError> {
        self.writes.fetch_add(1, Relaxed);
        self.bus.publish(topic, record).await
    }

    async fn publish_all(&self, topic: Topic, records: &[Record]) -> Result<(), BusError> {
        self.writes.fetch_add(1, Relaxed);
        self.bus.publish_all(topic, records).await
    }
}

#[tokio::test]
async fn the_incidents_of_one_pass_share_a_few_durable_writes() {
    let moody = guest::Detector::default();
    let mut rig = Rig::new(&[&moody], vec![], "moody").await;
    let counting = Arc::new(Counting {
        bus: Arc::clone(&rig.bus),
        writes: AtomicUsize::new(0),
    });
    let book = IncidentCorrelator::new(IncidentConfig::default(), IncidentLog::default());
    let bus: Arc<dyn Bus> = counting.clone();
    rig.engine = Engine::new(
        bus,
        rig.plugins.clone(),
        vec![],
        vec![config("moody")],
        book,
        Duration::ZERO,
    );
    for number in 0..TARGETS {
        let batch = MetricBatch {
            target: Some(Target::new("shop", "Deployment", &number.to_string())),
            observed_at: 1,
            coverage: testing::coverage(1, 0),
            ..testing::empty_batch("latency")
        };
        rig.bus
            .publish(Topic::Metrics, anomalyzer_wire::metrics::encode(&batch))
            .await
            .unwrap();
    }
    let deliveries = rig
        .metrics
        .next(TARGETS, Duration::from_secs(9))
        .await
        .unwrap();
    assert_eq!(deliveries.len(), TARGETS);
    rig.engine
        .process_batch(&deliveries, rig.metrics.as_mut())
        .await
        .unwrap();
    let mut published = 0;
    while published < TARGETS {
        let wait = Duration::from_secs(9);
        let read = rig.incidents.next(TARGETS, wait).await.unwrap();
        assert!(!read.is_empty(), "{published} incidents");
        published += read.len();
    }
    let writes = counting.writes.load(Relaxed);
    assert!(writes <= 5, "{writes} writes");
}
