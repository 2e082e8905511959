//! Attacks through the state that a detector saves, and attacks on a detector through the state
//! that it is given to restore.

use std::time::Duration;

use anomalyzer_domain::{DetectorConfig, Labels};
use anomalyzer_plugin_host::{DetectorHandle, Frame, PluginError, Plugins, Saved};
use serde_json::json;

use super::{begin, component, detector, frame, load, seen};
use crate::memory::Rig;

const ZSCORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins/zscore.wasm");

fn zscore() -> Vec<u8> {
    std::fs::read(ZSCORE)
        .unwrap_or_else(|error| panic!("{ZSCORE}: {error}; run `cargo xtask plugins`"))
}

fn labels() -> Labels {
    Labels::new([("__name__", "latency")])
}

fn saved(id: u32, bytes: Vec<u8>) -> Saved {
    Saved {
        of: Some((id, labels())),
        from_version: "0.1.0".to_owned(),
        bytes,
    }
}

/// Returns the saved state of the only series of a detector.
async fn save(handle: &DetectorHandle) -> Vec<u8> {
    handle
        .save(vec![Some(0)])
        .await
        .unwrap()
        .remove(0)
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn each_attack_by_what_is_saved_ends_in_an_error_of_its_own_and_the_neighbour_loses_no_sample()
 {
    let plugins = detector(1);
    let neighbour = begin(&plugins, "well-behaved").await;
    let mut counted = 0.0;
    for (attack, told) in [
        ("save-a-gigabyte", "reached a limit in `save`"),
        (
            "save-over-the-bound",
            "memory saved of a series (bytes) is limited to 1048576",
        ),
        ("spin-in-save", "did not return from `save` within 500ms"),
        (
            "spin-in-restore",
            "did not return from `restore` within 500ms",
        ),
        ("trap-in-restore", "trapped in `restore`"),
    ] {
        let attacker = begin(&plugins, attack).await;
        attacker.observe(frame(1), false).await.unwrap();
        let error = match attacker.save(vec![Some(0)]).await {
            Err(error) => error,
            Ok(mut answers) => {
                let bytes = answers.remove(0).unwrap().unwrap();
                attacker.restore(vec![saved(1, bytes)]).await.unwrap_err()
            }
        };
        assert!(
            error.lost_instance() && error.to_string().contains(told),
            "{attack}: {error}"
        );
        counted += 1.0;
        assert_eq!(seen(&neighbour).await, counted, "beside {attack}");
        // The attacker starts anew.
        attacker.reopen().await.unwrap();
        attacker.observe(frame(1), false).await.unwrap();
    }
}

/// Restores a series of a `zscore` from `bytes` and returns the result. Checks that the detector
/// and the series continue, whatever the result is.
async fn give(zscore: &DetectorHandle, id: u32, bytes: Vec<u8>) -> Result<(), PluginError> {
    let answer = zscore
        .restore(vec![saved(id, bytes)])
        .await
        .unwrap()
        .remove(0);
    let mut frame = Frame::default();
    if answer.is_err() {
        frame.opened.push((id, labels()));
    }
    for at in 0..100 {
        frame.push(id, at, 1.0);
    }
    frame.closed.push(id);
    zscore.observe(frame, true).await.unwrap();
    answer
}

#[tokio::test]
async fn a_detector_that_is_given_what_it_did_not_save_refuses_it_and_goes_on() {
    let plugins = load(
        &[("detector", component("detector")), ("zscore", zscore())],
        1,
    );
    let zscore = plugins.detector("zscore", &json!({})).await.unwrap();
    let mut first = Frame {
        opened: vec![(0, labels())],
        ..Frame::default()
    };
    for at in 0..90 {
        first.push(0, at, f64::from(at as i32 % 5));
    }
    zscore.observe(first, false).await.unwrap();
    let whole = save(&zscore).await;
    let neighbour = begin(&plugins, "well-behaved").await;
    seen(&neighbour).await;

    let mut id = 1;
    let mut next = || {
        id += 1;
        id
    };
    let others = save(&neighbour).await;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise as u8
    })
    .take(4096)
    .collect();
    for bytes in [
        others,
        random,
        vec![],
        vec![0xff; 1 << 20],
        whole.iter().chain(b"more").copied().collect(),
    ] {
        let answer = give(&zscore, next(), bytes).await;
        assert!(matches!(answer, Err(PluginError::Invalid(_))), "{answer:?}");
    }
    for length in (0..whole.len()).step_by(7) {
        let answer = give(&zscore, next(), whole[..length].to_vec()).await;
        assert!(
            matches!(answer, Err(PluginError::Invalid(_))),
            "{length} bytes: {answer:?}"
        );
    }
    // A state with one changed bit may be valid too. The detector must not crash on it.
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x80;
        let _ = give(&zscore, next(), bytes).await;
    }
    give(&zscore, next(), whole).await.unwrap();
    assert_eq!(plugins.health().faults, 0);
}

/// Runs an attack through the engine, across a restart, and checks that a good detector on the same
/// signal and series continues. Returns the reported reason why the state of the bad one is lost.
async fn attack_beside_a_good_detector(attack: &str) -> String {
    let with = |name: &str, settings| DetectorConfig {
        name: name.to_owned(),
        settings,
    };
    let plugins: Plugins = load(
        &[("detector", component("detector")), ("zscore", zscore())],
        2,
    );
    let settings = json!({ "attack": attack }).as_object().unwrap().clone();
    let detectors = vec![
        with("evil-detector", settings),
        with("zscore", serde_json::Map::new()),
    ];
    let mut rig = Rig::new().await;
    let mut running = rig.start_with(plugins.clone(), detectors.clone()).await;
    rig.feed(&mut running, &[1.0, 2.0, 3.0]).await;
    running.stop().await;
    let mut running = rig.start_with(plugins, detectors).await;
    rig.feed(&mut running, &[1.0, 2.0]).await;
    let status = running.status();
    assert_eq!((status.samples, status.series), (2, 1), "beside {attack}");
    assert_eq!(status.restored, 1, "beside {attack}: {status:?}");
    tokio::time::timeout(Duration::from_secs(60), running.stop())
        .await
        .unwrap();
    status.not_restored.or(status.not_saved).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_detector_whose_memory_means_harm_another_one_keeps_its_own() {
    for attack in [
        "save-a-gigabyte",
        "save-over-the-bound",
        "spin-in-save",
        "spin-in-restore",
        "trap-in-restore",
    ] {
        let mut reason = attack_beside_a_good_detector(attack).await;
        // A detector that spins on a busy machine may get too little processor time to be blamed.
        for _ in 0..5 {
            if reason.is_empty() && attack.starts_with("spin") {
                reason = attack_beside_a_good_detector(attack).await;
            }
        }
        assert!(reason.contains("evil-detector"), "{attack}: {reason}");
    }
}
