//! Pauses of a collector in another process.

use super::*;
use anomalyzer_domain::Coverage;

/// Sends a round in which the only source failed. `paused` is the pause that the collector reports.
async fn failing(rig: &mut Rig, at: i64, paused: Option<(i64, i64)>) {
    let batch = MetricBatch {
        signal: "latency".to_owned(),
        target: Some(Target::new("shop", "Deployment", "web")),
        observed_at: at,
        coverage: Coverage {
            asked: 1,
            answered: 0,
            failed: 1,
        },
        series: vec![],
        foreign: false,
    };
    let mut record = anomalyzer_wire::metrics::encode(&batch);
    if let Some((from, to)) = paused {
        anomalyzer_wire::metrics::add_pause(&mut record, from, to);
    }
    rig.bus.publish(Topic::Metrics, record).await.unwrap();
    let deliveries = rig.metrics.next(10, Duration::from_secs(9)).await.unwrap();
    let processed = rig.engine.process_batch(&deliveries, rig.metrics.as_mut());
    processed.await.unwrap();
}

#[tokio::test]
async fn a_pause_that_the_collector_reports_is_no_silence_of_its_sources() {
    let pause = Some((5_000, 65_000));
    for (paused, at, is_silence) in [
        (None, 66_000, true),
        (pause, 66_000, false),
        (pause, 119_000, false),
        (pause, 121_000, true),
        (Some((0, 1_000)), 66_000, true),
    ] {
        let moody = guest::Detector::default();
        let mut rig = Rig::new(&[&moody], vec![], "moody").await;
        failing(&mut rig, 0, None).await;
        // Each message reports the pause for a while.
        failing(&mut rig, at - 1_000, paused).await;
        failing(&mut rig, at, paused).await;
        let opened = rig
            .incidents
            .next(9, Duration::from_millis(200))
            .await
            .unwrap();
        assert_eq!(!opened.is_empty(), is_silence, "{paused:?} at {at}");
    }
}
