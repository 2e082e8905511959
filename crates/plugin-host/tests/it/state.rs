//! Tests how the state of a detector is saved and restored.

use super::guests::{load, moody, open, seen};
use anomalyzer_domain::Labels;
use anomalyzer_plugin_host::{Frame, MOST_SAVED, PluginError, Plugins, Saved};
use anomalyzer_test_support::guest::{Detector, REFUSE, SPIN, Stateful, mood};

fn stateful(save: &str, restore: &str, version: &str) -> Vec<u8> {
    let state = Some(Stateful { save, restore });
    // The pages have room for more than the detector may save.
    Detector {
        state,
        version,
        pages: 64,
        ..Detector::default()
    }
    .build()
}

/// Loads only this detector.
fn plugins(bytes: Vec<u8>) -> Plugins {
    load(&[("moody.wasm", bytes)])
}

fn series(id: u32) -> Option<(u32, Labels)> {
    Some((id, Labels::new([("__name__", "latency"), ("pod", "a")])))
}

fn saved(from_version: &str, bytes: &[u8]) -> Saved {
    Saved {
        of: series(7),
        from_version: from_version.to_owned(),
        bytes: bytes.to_vec(),
    }
}

#[tokio::test]
async fn what_one_version_saved_is_restored_in_the_next_which_is_told_from_which() {
    let old = plugins(stateful("", "", "0.1.0"));
    assert!(old.list()[0].stateful);
    let handle = open(&old).await;
    assert_eq!((seen(&handle).await, seen(&handle).await), (1.0, 2.0));
    let answers = handle.save(vec![None, Some(7)]).await.unwrap();
    let [Ok(None), Ok(Some(bytes))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(bytes, &2_u32.to_le_bytes());

    let new = plugins(stateful("", "", "0.2.0"));
    let handle = open(&new).await;
    assert_eq!(
        handle.restore(vec![saved("0.1.0", bytes)]).await.unwrap(),
        [Ok(())]
    );
    let mut next = Frame::default();
    next.push(7, 2_000, mood::GOOD);
    let verdict = handle.observe(next, false).await.unwrap();
    assert_eq!(
        (
            verdict.findings[0].score,
            verdict.findings[0].reason.as_str()
        ),
        (3.0, "0.1.0")
    );
}

#[tokio::test]
async fn a_detector_without_state_saves_nothing_and_takes_nothing() {
    let plugins = moody();
    assert!(!plugins.list()[0].stateful);
    let handle = open(&plugins).await;
    assert_eq!(seen(&handle).await, 1.0);
    assert_eq!(handle.save(vec![Some(7)]).await.unwrap(), [Ok(None)]);
    let answers = handle.restore(vec![saved("0.1.0", b"")]).await.unwrap();
    assert!(
        matches!(&answers[..], [Err(PluginError::Unsupported(_))]),
        "{answers:?}"
    );
    assert_eq!(seen(&handle).await, 2.0, "it goes on");
}

#[tokio::test]
async fn what_is_refused_leaves_the_instance_as_it_was() {
    let handle = open(&plugins(stateful("", REFUSE, "0.1.0"))).await;
    assert_eq!(seen(&handle).await, 1.0);
    let answers = handle
        .restore(vec![saved("0.1.0", &[1; 8]), saved("0.1.0", &[2; 8])])
        .await
        .unwrap();
    let refused = Err(PluginError::Invalid("no more patience".to_owned()));
    assert_eq!(answers, [refused.clone(), refused]);
    assert_eq!(seen(&handle).await, 2.0);
}

#[tokio::test]
async fn more_than_may_be_saved_is_an_error_and_no_allocation_however_much_it_is() {
    let limit = MOST_SAVED;
    for (length, told) in [
        (
            limit + 1,
            "memory saved of a series (bytes) is limited to 1048576, 0 are in use, 1048577 were asked for",
        ),
        (3 << 20, "too much data"),
        (1 << 30, "out of bounds"),
    ] {
        let save = format!("(call $list (i32.const 6148) (i32.const 0) (i32.const {length}))");
        let handle = open(&plugins(stateful(&save, "", "0.1.0"))).await;
        let error = handle.save(vec![Some(7)]).await.unwrap_err();
        assert!(error.lost_instance(), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        handle.reopen().await.unwrap();
        assert_eq!(seen(&handle).await, 1.0);
    }
    let save = format!("(call $list (i32.const 6148) (i32.const 0) (i32.const {limit}))");
    let handle = open(&plugins(stateful(&save, "", "0.1.0"))).await;
    let answers = handle.save(vec![Some(7); 20]).await.unwrap();
    assert!(
        (1..20).contains(&answers.len()),
        "{} at once",
        answers.len()
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().as_ref().unwrap().len() == limit)
    );
}

#[tokio::test]
async fn a_guest_that_spins_or_traps_over_its_memory_is_stopped_and_can_be_opened_again() {
    for (save, restore, call) in [
        (SPIN, "", "save"),
        ("(unreachable)", "", "save"),
        ("", SPIN, "restore"),
        ("", "(unreachable)", "restore"),
    ] {
        let handle = open(&plugins(stateful(save, restore, "0.1.0"))).await;
        let error = match call {
            "save" => handle.save(vec![Some(7)]).await.unwrap_err(),
            _ => handle
                .restore(vec![saved("0.1.0", b"1234")])
                .await
                .unwrap_err(),
        };
        assert!(
            error.lost_instance() && error.to_string().contains(&format!("`{call}`")),
            "{error}"
        );
        handle.reopen().await.unwrap();
        assert_eq!(seen(&handle).await, 1.0);
    }
}
