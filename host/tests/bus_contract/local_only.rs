//! Tests of promises that only the bus inside the process makes.

use std::time::Duration;

use anomalyzer_bus::BusError;
use anomalyzer_bus_sqlite::{LocalBus, LocalBusConfig};
use anomalyzer_domain::Topic;

use super::rig::{Bounds, Local, Rig, TEST_TIMEOUT, number, numbered, take};

#[tokio::test]
async fn durable_topics_and_offsets_survive_a_restart() {
    let rig = Local::new();
    for topic in [Topic::Incidents, Topic::Solutions, Topic::Decisions] {
        let bus = rig.open(Bounds::default()).await;
        for i in 0..4 {
            bus.publish(topic, numbered(i)).await.unwrap();
        }
        let mut subscription = bus.subscribe(topic, "g").await.unwrap();
        let taken = take(&mut *subscription, 4).await;
        subscription.commit(&taken[1]).await.unwrap();
        drop((subscription, bus));

        let bus = rig.open(Bounds::default()).await;
        let mut subscription = bus.subscribe(topic, "g").await.unwrap();
        let again: Vec<_> = take(&mut *subscription, 2)
            .await
            .iter()
            .map(number)
            .collect();
        assert_eq!(again, [2, 3], "{topic:?}");
    }
}

#[tokio::test]
async fn offsets_of_metrics_grow_over_a_restart() {
    let rig = Local::new();
    let mut last = 0;
    for _ in 0..2 {
        let bus = rig.open(Bounds::default()).await;
        bus.publish(Topic::Metrics, numbered(1)).await.unwrap();
        let mut subscription = bus.subscribe(Topic::Metrics, "g").await.unwrap();
        let offset = take(&mut *subscription, 1).await[0].offset;
        assert!(offset > last);
        last = offset;
        tokio::time::sleep(Duration::from_millis(2)).await; // shorter than any real restart
    }
}

#[tokio::test]
async fn a_publisher_of_metrics_that_waits_goes_on_when_there_is_room() {
    let rig = Local::new();
    let bus = rig
        .open(Bounds {
            queue: 2,
            publish_timeout: TEST_TIMEOUT,
            ..Bounds::default()
        })
        .await;
    let mut subscription = bus.subscribe(Topic::Metrics, "g").await.unwrap();
    bus.publish(Topic::Metrics, numbered(0)).await.unwrap();
    bus.publish(Topic::Metrics, numbered(1)).await.unwrap();
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish(Topic::Metrics, numbered(2)).await }
    });
    while bus.health().full == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let taken = take(&mut *subscription, 1).await;
    subscription.commit(&taken[0]).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(
        take(&mut *subscription, 2)
            .await
            .iter()
            .map(number)
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let rig = Local::new();
    std::fs::create_dir(rig.file()).unwrap();
    match LocalBus::open(&rig.file(), LocalBusConfig::default()).await {
        Err(BusError::Store(text)) => assert!(text.contains("bus.sqlite"), "{text}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("opened a folder"),
    }
}
