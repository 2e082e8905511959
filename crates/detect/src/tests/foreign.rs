//! Messages of other producers whose clock is ahead.

use super::*;
use anomalyzer_common::clock::now_ms;
use anomalyzer_domain::IncidentEventKind;

/// Sends one sample to the engine, and returns the number of confirmed incidents.
async fn send(rig: &mut Rig, batch: MetricBatch) -> usize {
    let record = anomalyzer_wire::metrics::encode(&batch);
    rig.bus.publish(Topic::Metrics, record).await.unwrap();
    let deliveries = rig.metrics.next(10, Duration::from_secs(9)).await.unwrap();
    let processed = rig.engine.process_batch(&deliveries, rig.metrics.as_mut());
    processed.await.unwrap();
    let wait = Duration::from_millis(200);
    let events = rig.incidents.next(9, wait).await.unwrap();
    let kinds = events
        .iter()
        .map(|event| anomalyzer_wire::incidents::decode(event).unwrap().kind);
    kinds
        .filter(|kind| *kind == IncidentEventKind::Confirmed)
        .count()
}

#[tokio::test]
async fn a_producer_whose_clock_is_ahead_confirms_no_incident_of_others() {
    for (foreign, confirmed) in [(true, 0), (false, 1)] {
        let moody = guest::Detector::default();
        let mut rig = Rig::new(&[&moody], vec![], "moody").await;
        let now = now_ms();
        let bad = testing::batch("latency", now, guest::mood::GOOD);
        assert_eq!(send(&mut rig, bad).await, 0);
        let ahead = MetricBatch {
            target: Some(Target::new("other", "Deployment", "far")),
            foreign,
            ..testing::batch("errors", now + 240_000, guest::mood::GOOD)
        };
        assert_eq!(send(&mut rig, ahead).await, confirmed, "{foreign}");
    }
}
