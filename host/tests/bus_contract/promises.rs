//! The promises of a bus, each as a test that runs on any bus.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anomalyzer_bus::BusError;
use anomalyzer_domain::{Delivery, Record, Topic};
use bytes::Bytes;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::rig::{Bounds, Rig, TEST_TIMEOUT, number, numbered, record, take, take_within};

/// Time after which a message that has not arrived can be assumed never to arrive.
const A_WHILE: Duration = Duration::from_millis(500);

fn numbers(deliveries: &[Delivery]) -> BTreeSet<usize> {
    deliveries.iter().map(number).collect()
}

pub async fn messages_of_one_key_keep_their_order(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in Topic::ALL {
        for i in 0..50 {
            bus.publish(topic, numbered(i)).await.unwrap();
        }
        let mut subscription = bus.subscribe(topic, "order").await.unwrap();
        let taken = take(&mut *subscription, 50).await;
        assert_eq!(numbers(&taken), (0..50).collect(), "{topic:?}");
        let mut last = HashMap::new();
        for delivery in &taken {
            assert_eq!(delivery.topic, topic);
            if let Some(before) = last.insert(delivery.record.key.clone(), number(delivery)) {
                assert!(
                    before < number(delivery),
                    "{topic:?}: {before} after {}",
                    number(delivery)
                );
            }
        }
    }
}

pub async fn messages_published_together_keep_their_order_or_none_is_there(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in [Topic::Incidents, Topic::Metrics] {
        let mut records: Vec<_> = (0..300).map(|i| record("one-key", i.to_string())).collect();
        bus.publish_all(topic, &records).await.unwrap();
        records.push(record("one-key", vec![7; 2 << 20]));
        let refused = bus.publish_all(topic, &records).await;
        assert!(
            matches!(refused, Err(BusError::TooLarge { .. })),
            "{refused:?}"
        );
        bus.publish_confirmed(topic, record("one-key", "300"))
            .await
            .unwrap();
        let mut subscription = bus.subscribe(topic, "together").await.unwrap();
        let taken = take(&mut *subscription, 301).await;
        let numbers: Vec<_> = taken.iter().map(number).collect();
        assert_eq!(numbers, (0..=300).collect::<Vec<_>>(), "{topic:?}");
    }
}

pub async fn what_was_not_committed_is_delivered_again(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in [Topic::Metrics, Topic::Solutions] {
        for i in 0..10 {
            bus.publish(topic, record("one-key", i.to_string()))
                .await
                .unwrap();
        }
        let mut crashing = bus.subscribe(topic, "crash").await.unwrap();
        let taken = take(&mut *crashing, 10).await;
        crashing.commit(&taken[3]).await.unwrap();
        drop(crashing);

        let mut after = bus.subscribe(topic, "crash").await.unwrap();
        let again = take(&mut *after, 6).await;
        assert_eq!(again, taken[4..], "{topic:?}");
    }
}

pub async fn a_committed_message_is_not_delivered_again(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in [Topic::Metrics, Topic::Decisions] {
        for i in 0..3 {
            bus.publish(topic, record("one-key", i.to_string()))
                .await
                .unwrap();
        }
        let mut first = bus.subscribe(topic, "done").await.unwrap();
        let taken = take(&mut *first, 3).await;
        first.commit(&taken[2]).await.unwrap();
        drop(first);

        bus.publish(topic, record("one-key", "3")).await.unwrap();
        let mut second = bus.subscribe(topic, "done").await.unwrap();
        assert_eq!(
            numbers(&take(&mut *second, 1).await),
            [3].into(),
            "{topic:?}"
        );
    }
}

pub async fn groups_do_not_disturb_each_other(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    let mut first = bus.subscribe(Topic::Incidents, "first").await.unwrap();
    let mut second = bus.subscribe(Topic::Incidents, "second").await.unwrap();
    for i in 0..20 {
        bus.publish(Topic::Incidents, numbered(i)).await.unwrap();
    }
    let taken = take(&mut *first, 20).await;
    for delivery in &taken {
        first.commit(delivery).await.unwrap();
    }
    assert_eq!(numbers(&taken), (0..20).collect());
    assert_eq!(numbers(&take(&mut *second, 20).await), (0..20).collect());
}

pub async fn a_new_group_starts_at_the_oldest_message(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in Topic::ALL {
        bus.publish(topic, numbered(1)).await.unwrap();
        bus.drain(TEST_TIMEOUT).await.unwrap();
        let mut subscription = bus.subscribe(topic, "late").await.unwrap();
        assert_eq!(
            numbers(&take(&mut *subscription, 1).await),
            [1].into(),
            "{topic:?}"
        );
    }
}

pub async fn of_two_members_each_message_goes_to_one_and_the_other_takes_over(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    let mut members = [
        bus.subscribe(Topic::Solutions, "pair").await.unwrap(),
        bus.subscribe(Topic::Solutions, "pair").await.unwrap(),
    ];
    bus.publish(Topic::Solutions, numbered(0)).await.unwrap();
    let deadline = tokio::time::Instant::now() + TEST_TIMEOUT;
    let mut active = None;
    while active.is_none() && tokio::time::Instant::now() < deadline {
        for (i, member) in members.iter_mut().enumerate() {
            if let Some(delivery) = member
                .next(1, Duration::from_millis(100))
                .await
                .unwrap()
                .first()
            {
                member.commit(delivery).await.unwrap();
                active = Some(i);
                break;
            }
        }
    }
    let [a, b] = members;
    let (mut active, mut standby) = if active.expect("one of them is active") == 0 {
        (a, b)
    } else {
        (b, a)
    };

    bus.publish(Topic::Solutions, numbered(1)).await.unwrap();
    let (by_active, by_standby) = tokio::join!(take(&mut *active, 1), standby.next(1, A_WHILE));
    assert_eq!(
        (numbers(&by_active), by_standby.unwrap()),
        ([1].into(), Vec::new())
    );

    // The active member did not commit the message, so its successor receives it again.
    drop(active);
    assert_eq!(numbers(&take(&mut *standby, 1).await), [1].into());
}

pub async fn what_cannot_be_handled_is_set_aside_and_the_consumer_goes_on(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    let header = ("content-type".to_owned(), Bytes::from_static(b"text/plain"));
    let bad = Record {
        headers: vec![header.clone()],
        ..record("k", "not a number")
    };
    for topic in Topic::ALL {
        bus.publish(topic, bad.clone()).await.unwrap();
        bus.publish(topic, record("k", "1")).await.unwrap();
        let mut subscription = bus.subscribe(topic, "careful").await.unwrap();
        let taken = take(&mut *subscription, 2).await;
        subscription
            .dead_letter(&taken[0], "not a number: `not a number`")
            .await
            .unwrap();
        subscription.commit(&taken[1]).await.unwrap();

        let aside = bus.set_aside(topic).await;
        assert_eq!(aside.len(), 1, "{topic:?}");
        let letter = &aside[0].record;
        assert_eq!((&letter.key, &letter.payload), (&bad.key, &bad.payload));
        assert_eq!(letter.headers[0], header);
        assert_eq!(
            letter.header("reason"),
            Some("not a number: `not a number`")
        );
        assert!(
            letter
                .header("topic")
                .unwrap()
                .ends_with(topic.default_name())
        );
        assert_eq!(
            letter.header("partition"),
            Some(taken[0].partition.to_string().as_str())
        );
        assert_eq!(
            letter.header("offset"),
            Some(taken[0].offset.to_string().as_str())
        );
    }
    assert_eq!(bus.health().dead_letters, 4);
}

pub async fn a_full_queue_is_reported_and_counted_and_loses_nothing_it_took(rig: &dyn Rig) {
    let bounds = Bounds {
        queue: 1,
        publish_timeout: Duration::from_millis(1),
        ..Bounds::default()
    };
    let bus = rig.open(bounds).await;
    assert_eq!(bus.health().full, 0);
    let results = join_all((0..50).map(|i| bus.publish(Topic::Metrics, numbered(i)))).await;
    let taken: BTreeSet<_> = (0..50).filter(|i| results[*i].is_ok()).collect();
    let full = results
        .iter()
        .filter(|result| matches!(result, Err(BusError::Full(Topic::Metrics))))
        .count();
    assert!(!taken.is_empty() && full > 0, "{results:?}");
    assert_eq!(taken.len() + full, 50, "{results:?}");
    assert!(bus.health().full >= full as u64);

    let mut subscription = bus.subscribe(Topic::Metrics, "reader").await.unwrap();
    assert_eq!(numbers(&take(&mut *subscription, taken.len()).await), taken);
    assert_eq!(take_within(&mut *subscription, 1, A_WHILE).await, []);
}

pub async fn drain_returns_when_all_is_written(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for i in 0..200 {
        bus.publish(Topic::Metrics, numbered(i)).await.unwrap();
    }
    let unfinished: Vec<_> = (0..20)
        .map(|i| {
            let bus = bus.clone();
            tokio::spawn(async move { bus.publish(Topic::Incidents, numbered(i)).await })
        })
        .collect();
    while bus.health().waiting == 0 && !unfinished.iter().all(tokio::task::JoinHandle::is_finished)
    {
        tokio::task::yield_now().await;
    }
    let mut metrics = bus.subscribe(Topic::Metrics, "all").await.unwrap();
    let taken = take(&mut *metrics, 200).await;
    let last: HashMap<_, _> = taken
        .iter()
        .map(|delivery| (delivery.partition, delivery))
        .collect();
    for delivery in last.values() {
        metrics.commit(delivery).await.unwrap();
    }
    bus.drain(TEST_TIMEOUT).await.unwrap();
    for publish in unfinished {
        publish.await.unwrap().unwrap();
    }
    assert_eq!(bus.health().waiting, 0);
    assert_eq!(numbers(&taken), (0..200).collect());
    let mut incidents = bus.subscribe(Topic::Incidents, "all").await.unwrap();
    assert_eq!(numbers(&take(&mut *incidents, 20).await), (0..20).collect());
}

pub async fn a_tail_sees_only_what_comes_after_it(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in Topic::ALL {
        bus.publish(topic, numbered(1)).await.unwrap();
        bus.drain(TEST_TIMEOUT).await.unwrap();
        let mut tail = bus.tail(topic).await.unwrap();
        for i in 2..10 {
            bus.publish(topic, numbered(i)).await.unwrap();
        }
        let taken = take(&mut *tail, 8).await;
        assert_eq!(numbers(&taken), (2..10).collect(), "{topic:?}");
        tail.commit(&taken[0]).await.unwrap();
        assert_eq!(take_within(&mut *tail, 1, A_WHILE).await, []);
    }
}

pub async fn a_replay_begins_at_the_oldest_message_tells_the_end_and_goes_on(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in Topic::ALL {
        assert!(
            bus.replay(topic).await.unwrap().ends.is_empty(),
            "{topic:?} holds nothing yet"
        );
        for i in 1..10 {
            bus.publish(topic, numbered(i)).await.unwrap();
        }
        bus.drain(TEST_TIMEOUT).await.unwrap();
        let mut replay = bus.replay(topic).await.unwrap();
        let taken = take(&mut *replay.subscription, 9).await;
        assert_eq!(numbers(&taken), (1..10).collect(), "{topic:?}");
        for delivery in &taken {
            if replay
                .ends
                .get(&delivery.partition)
                .is_some_and(|end| delivery.offset + 1 >= *end)
            {
                replay.ends.remove(&delivery.partition);
            }
        }
        assert!(
            replay.ends.is_empty(),
            "{topic:?}: {:?} were not reached",
            replay.ends
        );
        bus.publish(topic, numbered(10)).await.unwrap();
        assert_eq!(
            numbers(&take(&mut *replay.subscription, 1).await),
            [10].into()
        );
        replay.subscription.commit(&taken[0]).await.unwrap();
    }
}

pub async fn a_confirmed_message_of_metrics_is_there(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    bus.publish_confirmed(Topic::Metrics, numbered(1))
        .await
        .unwrap();
    assert_eq!(
        bus.replay(Topic::Metrics).await.unwrap().ends.len(),
        1,
        "nothing is waited for"
    );
}

pub async fn a_message_over_the_limit_is_refused_and_one_at_the_limit_travels(rig: &dyn Rig) {
    const LIMIT: usize = 3 << 20;
    let bus = rig
        .open(Bounds {
            max_message_bytes: LIMIT,
            ..Bounds::default()
        })
        .await;
    for topic in Topic::ALL {
        // Use random bytes, so that compression cannot shrink the message.
        let mut noise: u64 = 1;
        let fits: Bytes = (0..LIMIT - 1)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (noise >> 56) as u8
            })
            .collect();
        let over = Record {
            headers: vec![("h".to_owned(), Bytes::new())],
            ..record("k", fits.clone())
        };
        match bus.publish(topic, over).await {
            Err(BusError::TooLarge { size, limit, .. }) => {
                assert_eq!((size, limit), (LIMIT + 1, LIMIT));
            }
            other => panic!("{other:?}"),
        }
        bus.publish(topic, record("k", fits.clone())).await.unwrap();
        let mut subscription = bus.subscribe(topic, "big").await.unwrap();
        let taken = take(&mut *subscription, 1).await;
        assert_eq!(taken[0].record.payload, fits, "{topic:?}");
        subscription
            .dead_letter(&taken[0], "too much to bear")
            .await
            .unwrap();
    }
}

pub async fn next_returns_nothing_when_there_is_nothing_in_time(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    let mut subscription = bus.subscribe(Topic::Incidents, "idle").await.unwrap();
    assert_eq!(
        subscription
            .next(10, Duration::from_millis(50))
            .await
            .unwrap(),
        []
    );
    bus.publish(Topic::Incidents, numbered(1)).await.unwrap();
    assert_eq!(numbers(&take(&mut *subscription, 1).await), [1].into());
}

pub async fn a_cancelled_next_loses_nothing(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    for topic in [Topic::Metrics, Topic::Incidents] {
        let mut subscription = bus.subscribe(topic, "impatient").await.unwrap();
        let publisher = tokio::spawn({
            let bus = bus.clone();
            async move {
                for i in 0..300 {
                    bus.publish(topic, numbered(i)).await.unwrap();
                }
            }
        });
        let mut taken = Vec::new();
        let deadline = tokio::time::Instant::now() + TEST_TIMEOUT;
        let mut wait = 0;
        while taken.len() < 300 && tokio::time::Instant::now() < deadline {
            wait = (wait + 37) % 1000;
            tokio::select! {
                biased;
                batch = subscription.next(7, TEST_TIMEOUT) => taken.extend(batch.unwrap()),
                () = tokio::time::sleep(Duration::from_micros(wait)) => {}
            }
        }
        publisher.await.unwrap();
        assert_eq!(numbers(&taken), (0..300).collect(), "{topic:?}");
        assert_eq!(taken.len(), 300, "{topic:?}");
    }
}

pub async fn any_record_arrives_as_it_was(rig: &dyn Rig) {
    let bus = rig.open(Bounds::default()).await;
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let headers = proptest::collection::vec(("[^\0]{0,20}", bytes()), 0..5);
    let records =
        (proptest::option::of(".{0,40}"), headers, bytes()).prop_map(|(key, headers, payload)| {
            Record {
                key,
                headers,
                payload,
            }
        });
    let sorted = |mut records: Vec<Record>| {
        records.sort_by_key(|record| format!("{record:?}"));
        records
    };
    let mut runner = TestRunner::default();
    let sent: Vec<_> = (0..300)
        .map(|_| records.new_tree(&mut runner).unwrap().current())
        .collect();
    for topic in [Topic::Metrics, Topic::Incidents] {
        for result in join_all(sent.iter().map(|record| bus.publish(topic, record.clone()))).await {
            result.unwrap();
        }
        let mut subscription = bus.subscribe(topic, "any").await.unwrap();
        let taken = take(&mut *subscription, sent.len()).await;
        let arrived: Vec<_> = taken.into_iter().map(|delivery| delivery.record).collect();
        assert_eq!(sorted(arrived), sorted(sent.clone()), "{topic:?}");
    }
}
