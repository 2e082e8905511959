//! Attacks of a detector that shares one thread with a neighbour.

use std::time::{Duration, Instant};

use anomalyzer_plugin_host::PluginError;
use serde_json::json;

use super::{DEADLINE, begin, detector, frame, seen};
use crate::wait::until;

#[tokio::test]
async fn each_attack_ends_in_an_error_of_its_own_and_the_neighbour_loses_no_sample() {
    let plugins = detector(1);
    let neighbour = begin(&plugins, "well-behaved").await;
    let (mut counted, mut faults) = (0.0, 0);
    for (attack, told) in [
        ("hoard", "memory (bytes) is limited to 8388608"),
        ("flood", "did not return from `observe` within 500ms"),
        ("long-words", "too much data"),
        ("many-findings", "too much data"),
        ("handles", "handle limit exceeded"),
        ("nth", "unreachable"),
    ] {
        let attacker = begin(&plugins, attack).await;
        let mut tries = 0;
        let error = loop {
            counted += 1.0;
            assert_eq!(seen(&neighbour).await, counted, "beside {attack}");
            tries += 1;
            assert!(tries < 20, "{attack} is not stopped");
            if let Err(error) = attacker.observe(frame(1), false).await {
                break error;
            }
        };
        // A call that spins on a busy machine ends for want of processor time: no fault.
        faults += u64::from(!matches!(error, PluginError::Starved { .. }));
        assert!(
            error.lost_instance() && error.to_string().contains(told),
            "{attack}: {error}"
        );
    }
    assert_eq!(plugins.health().faults, faults);
    assert!(faults >= 5, "{faults}");
}

#[tokio::test]
async fn memory_up_to_the_limit_may_be_kept() {
    let plugins = detector(1);
    let brim = begin(&plugins, "brim").await;
    for _ in 0..5 {
        brim.observe(frame(1), false).await.unwrap();
    }
    assert!((6 << 20..=8 << 20).contains(&plugins.health().memory_bytes));
}

#[tokio::test]
async fn who_never_lets_go_is_let_go() {
    let plugins = detector(1);
    let clinging = begin(&plugins, "spin-in-drop").await;
    clinging.observe(frame(1), false).await.unwrap();
    drop(clinging);
    until("its memory is freed", Duration::from_secs(20), async || {
        (plugins.health().memory_bytes == 0).then_some(())
    })
    .await;
    assert_eq!(
        seen(&begin(&plugins, "well-behaved").await).await,
        1.0,
        "the thread is free"
    );
}

#[tokio::test]
async fn a_call_that_takes_long_goes_on_alone_and_the_others_on_its_thread_go_on_meanwhile() {
    let plugins = detector(1);
    let (neighbour, spinning) = (
        begin(&plugins, "well-behaved").await,
        begin(&plugins, "flood").await,
    );
    let begun = Instant::now();
    let meanwhile = async {
        let mut answers = 0.0;
        while begun.elapsed() < DEADLINE / 2 {
            answers = seen(&neighbour).await;
        }
        (answers, begun.elapsed())
    };
    let (spun, (answers, elapsed)) = tokio::join!(spinning.observe(frame(1), false), meanwhile);
    assert!(
        matches!(
            spun,
            Err(PluginError::Deadline { .. } | PluginError::Starved { .. })
        ),
        "{spun:?}"
    );
    assert!(
        answers > 3.0 && elapsed < DEADLINE,
        "{answers} answers, the last after {elapsed:?}"
    );
    // The detached instance is back, and its next call is answered in order.
    assert_eq!(
        spinning.observe(frame(1), false).await,
        Err(PluginError::Lost("evil-detector".to_owned()))
    );
}

#[tokio::test]
async fn calls_of_one_instance_keep_their_order_also_when_it_is_away() {
    let plugins = detector(1);
    let spinning = begin(&plugins, "flood").await;
    let call = || spinning.observe(frame(1), false);
    let (first, second, third) = tokio::join!(call(), call(), call());
    assert!(
        matches!(
            first,
            Err(PluginError::Deadline { .. } | PluginError::Starved { .. })
        ),
        "{first:?}"
    );
    for later in [second, third] {
        assert_eq!(later, Err(PluginError::Lost("evil-detector".to_owned())));
    }
}

#[tokio::test]
async fn who_never_finishes_opening_gives_no_handle_and_holds_nobody_up() {
    let plugins = detector(1);
    let neighbour = begin(&plugins, "well-behaved").await;
    let attack = json!("spin-in-open");
    let opening = plugins.detector("evil-detector", &attack);
    let meanwhile = async {
        let begun = Instant::now();
        (seen(&neighbour).await, begun.elapsed())
    };
    let (opened, (_, elapsed)) = tokio::join!(opening, meanwhile);
    assert!(matches!(
        opened.err(),
        Some(
            PluginError::Deadline { call: "open", .. } | PluginError::Starved { call: "open", .. }
        )
    ));
    assert!(elapsed < DEADLINE, "{elapsed:?}");
}

#[tokio::test]
async fn more_spinning_guests_than_may_go_on_alone_all_end_and_the_neighbour_goes_on() {
    let plugins = detector(1);
    let neighbour = begin(&plugins, "well-behaved").await;
    let mut spinning = Vec::new();
    for _ in 0..12 {
        spinning.push(begin(&plugins, "flood").await);
    }
    let spun = futures::future::join_all(
        spinning
            .iter()
            .map(|handle| handle.observe(frame(1), false)),
    );
    let (spun, answer) = tokio::join!(spun, seen(&neighbour));
    assert!(
        spun.iter().all(|spun| matches!(
            spun,
            Err(PluginError::Deadline { .. } | PluginError::Starved { .. })
        )),
        "{spun:?}"
    );
    assert_eq!(answer, 1.0);
}
