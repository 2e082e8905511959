//! A detector is quarantined while it watches.

use super::*;
use anomalyzer_domain::Meaning;

const SIGNALS: [&str; 3] = ["latency", "errors", "traffic"];

/// Returns a signal with the detector `moody`.
fn signal(name: &str) -> WatchedSignal {
    WatchedSignal {
        name: name.to_owned(),
        meaning: Meaning::Other,
        confirm_after: None,
        detectors: vec![config("moody")],
    }
}

fn failing() -> guest::Detector<'static> {
    guest::Detector {
        observe: "(unreachable)",
        ..guest::Detector::default()
    }
}

/// Sends samples until the failing detectors are quarantined.
async fn until_quarantined(rig: &mut Rig, signals: &[&str]) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        rig.send(signals).await;
        if signals
            .iter()
            .all(|signal| !rig.status(signal).quarantined.is_empty())
        {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no quarantine: {:?}",
            rig.status(signals[0])
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_is_quarantined_is_stood_in_for_until_it_gets_another_chance() {
    let calm = guest::Detector {
        name: "calm",
        ..guest::Detector::default()
    };
    let all = SIGNALS
        .iter()
        .chain(&["saturation"])
        .map(|name| signal(name))
        .collect();
    let mut rig = Rig::new(&[&failing(), &calm], all, "calm").await;
    until_quarantined(&mut rig, &SIGNALS).await;
    let status = rig.status("latency");
    assert_eq!(status.detectors, ["calm@0.1.0"]);
    let told = &status.quarantined[0];
    assert!(
        told.contains("`moody` is quarantined") && told.contains("calm watches in its place"),
        "{told}"
    );
    // The stand-in got one frame with the recent past. From then on it gets each sample.
    let before = rig.bus.health().dead_letters;
    let findings = status.findings;
    rig.send(&["latency"]).await;
    assert_eq!(
        (
            rig.status("latency").findings,
            rig.bus.health().dead_letters
        ),
        (findings + 1, before)
    );

    // Three signals quarantined the plugin, so that a fourth signal does not open it.
    rig.send(&["saturation"]).await;
    let status = rig.status("saturation");
    assert_eq!(
        (status.detectors, status.findings),
        (vec!["calm@0.1.0".to_owned()], 1)
    );
    assert!(
        status.quarantined[0].contains("quarantined as a whole"),
        "{:?}",
        status.quarantined
    );

    rig.drop_in(&guest::Detector {
        version: "0.2.0",
        ..guest::Detector::default()
    })
    .await;
    rig.send(&["latency", "saturation"]).await;
    for signal in ["latency", "saturation"] {
        let status = rig.status(signal);
        assert_eq!(
            (status.detectors, status.quarantined),
            (vec!["moody@0.2.0".to_owned()], vec![]),
            "{signal}"
        );
    }
}

#[tokio::test]
async fn what_nothing_stands_in_for_is_set_aside_and_told() {
    let mut rig = Rig::new(&[&failing()], vec![], "moody").await;
    until_quarantined(&mut rig, &["latency"]).await;
    let before = rig.bus.health().dead_letters;
    rig.send(&["latency"]).await;
    let status = rig.status("latency");
    assert_eq!(
        (status.detectors.len(), rig.bus.health().dead_letters),
        (0, before + 1)
    );
    assert!(
        status.quarantined[0].contains("nothing watches in its place"),
        "{:?}",
        status.quarantined
    );
}
