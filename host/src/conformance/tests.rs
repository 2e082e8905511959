//! Tests of the suite with plugins that break the rules.

use std::fs;

use serde_json::json;

use super::{Report, Trial, examine};
use crate::plugin::tests::guest;
use crate::plugin::{PluginConfig, Plugins};

async fn report_on(bytes: Vec<u8>) -> Report {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plugin.wasm"), bytes).unwrap();
    let plugins = Plugins::load(PluginConfig {
        folder: folder.path().to_owned(),
        ..PluginConfig::default()
    })
    .unwrap();
    let info = plugins.list().remove(0);
    assert_eq!(info.error, None);
    examine(
        &plugins,
        &info,
        &Trial {
            settings: json!({}),
            series_share: false,
        },
    )
    .await
}

fn failed(report: &Report) -> Vec<&'static str> {
    report
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.name)
        .collect()
}

/// The guest reports in each frame the number of frames that it has seen, accepts any settings,
/// traps on a 2 and spins on a 3.
#[tokio::test]
async fn a_detector_that_breaks_the_rules_is_told_which_on_what_and_how() {
    let report = report_on(guest::Detector::default().build()).await;
    assert!(!report.passed());
    let failed = failed(&report);
    for name in [
        "wrong-settings",
        "frame-ends",
        "huge-and-tiny",
        "other-series",
    ] {
        assert!(failed.contains(&name), "{name} is not among {failed:?}");
    }
    let check = report
        .checks
        .iter()
        .find(|check| check.name == "frame-ends")
        .unwrap();
    let failure = check.failure.as_ref().unwrap();
    assert!(
        failure.place.contains("series `calm`") && failure.remedy.contains("per series"),
        "{failure:?}"
    );
}

/// The guest saves the number of frames that it has seen, and reports differently on a restored
/// series.
#[tokio::test]
async fn a_detector_that_goes_on_differently_after_a_restart_is_told_so_and_one_that_saves_nothing_is_not_tried()
 {
    let state = Some(guest::Stateful::default());
    let report = report_on(
        guest::Detector {
            state,
            ..guest::Detector::default()
        }
        .build(),
    )
    .await;
    let check = report
        .checks
        .iter()
        .find(|check| check.name == "save-restore")
        .unwrap();
    let failure = check.failure.as_ref().unwrap();
    assert!(
        failure.place.contains("with restarts") || failure.place.contains("saved and restored"),
        "{failure:?}"
    );
    let report = report_on(guest::Detector::default().build()).await;
    assert!(
        report
            .checks
            .iter()
            .all(|check| check.name != "save-restore")
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("save-restore")),
        "{:?}",
        report.notes
    );
}

/// The guest scales without a check of its parameters, traps if the scaling failed, and does not
/// expect the outcome in doubt.
#[tokio::test]
async fn an_action_that_breaks_the_rules_is_told_which_on_what_and_how() {
    let report = report_on(guest::action("broken")).await;
    assert!(!report.passed());
    let failed = failed(&report);
    for name in ["wrong-settings", "same-twice", "every-outcome"] {
        assert!(failed.contains(&name), "{name} is not among {failed:?}");
    }
    assert!(!failed.contains(&"declared-needs"), "{failed:?}");
}

/// The guest declares that it scales a Deployment, and scales the target of any incident.
#[tokio::test]
async fn an_action_that_acts_on_kinds_that_it_does_not_declare_is_told_so() {
    let report = report_on(guest::unheeding_action("unheeding")).await;
    let check = report
        .checks
        .iter()
        .find(|check| check.name == "declared-needs")
        .unwrap();
    let failure = check.failure.as_ref().unwrap();
    for kind in ["Process", "Rollout.argoproj.io"] {
        let undeclared = format!("`unheeding` does not declare that it needs `scale` of {kind}");
        assert!(failure.found.contains(&undeclared), "{failure:?}");
    }
    assert!(
        !failure.found.contains("Deployment") && failure.remedy.contains("give up"),
        "{failure:?}"
    );
}
