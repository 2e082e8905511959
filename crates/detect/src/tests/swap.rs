//! A detector is swapped for its next version while it watches.

use super::*;
use anomalyzer_domain::Finding;
use anomalyzer_test_support::guest::{REFUSE, Stateful};

fn version(version: &'static str, restore: &'static str) -> guest::Detector<'static> {
    guest::Detector {
        version,
        state: Some(Stateful { save: "", restore }),
        ..guest::Detector::default()
    }
}

async fn rig() -> Rig {
    Rig::new(&[&version("0.1.0", "")], vec![], "moody").await
}

/// Sends a sample and returns the finding about it.
async fn next(rig: &mut Rig) -> Finding {
    rig.send(&["latency"]).await;
    let events = rig
        .incidents
        .next(10, Duration::from_secs(9))
        .await
        .unwrap();
    let [event] = &events[..] else {
        panic!("{} events", events.len())
    };
    anomalyzer_wire::incidents::decode(event)
        .unwrap()
        .incident
        .findings
        .remove(0)
}

#[tokio::test]
async fn the_next_version_goes_on_with_what_the_one_before_knew() {
    let mut rig = rig().await;
    let first = next(&mut rig).await;
    assert_eq!(
        (next(&mut rig).await.score, first.reason.as_str()),
        (2.0, "a")
    );
    rig.drop_in(&version("0.1.0", "")).await;
    assert_eq!(next(&mut rig).await.score, 3.0, "it is the same");

    rig.drop_in(&version("0.2.0", "")).await;
    let next = next(&mut rig).await;
    assert_eq!((next.score, next.reason.as_str()), (4.0, "0.1.0"));
    assert_ne!(next.detector_digest, first.detector_digest);
    let status = rig.status("latency");
    assert_eq!(
        (status.detectors, status.restored),
        (vec!["moody@0.2.0".to_owned()], 1)
    );
}

#[tokio::test]
async fn a_next_version_that_takes_nothing_over_is_shown_the_past_that_is_at_hand() {
    for (restore, why) in [
        (REFUSE, "no more patience"),
        ("(unreachable)", "trapped in `restore`"),
    ] {
        let mut rig = rig().await;
        next(&mut rig).await;
        next(&mut rig).await;
        rig.drop_in(&version("0.2.0", restore)).await;
        // The new version got one frame with the past and one with the sample.
        assert_eq!(next(&mut rig).await.score, 2.0);
        let told = rig.status("latency").not_restored.unwrap();
        assert!(
            told.contains("moody: 1 of its series") && told.contains(why),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_next_version_that_does_not_open_or_fails_at_the_past_leaves_the_one_before_at_work() {
    let broken = guest::Detector {
        open: "(unreachable)",
        ..version("0.2.0", "")
    };
    let failing = guest::Detector {
        observe: "(unreachable)",
        ..version("0.2.0", REFUSE)
    };
    for bad in [broken, failing] {
        let mut rig = rig().await;
        next(&mut rig).await;
        rig.drop_in(&bad).await;
        assert_eq!(next(&mut rig).await.score, 2.0);
        let told = rig.status("latency").problem.unwrap();
        assert!(told.contains("a new version does not open"), "{told}");
    }
}
