//! Tests of the example plugins in other languages, built as an outside author would build them.
//! The tests load the plugins, feed the detectors and run the actions to their end.

use std::sync::LazyLock;

use anomalyzer_domain::testing::web;
use anomalyzer_domain::{Direction, Labels, Notice, Operation, Phase, PluginKind, Range, Target};
use anomalyzer_plugin_host::{
    ActionIncident, ActionOutcome, ActionStep, DetectorHandle, Frame, PluginConfig, PluginError,
    Plugins,
};
use anomalyzer_service::config;
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples");

/// All example plugins, with the default limits. They are compiled once per machine and build,
/// because compiling takes a while.
static PLUGINS: LazyLock<Plugins> = LazyLock::new(|| {
    let cache = Some(config::cache_folder().join("compiled"));
    let loaded = Plugins::load(PluginConfig {
        folder: FOLDER.into(),
        cache,
        ..PluginConfig::default()
    });
    loaded.unwrap_or_else(|error| panic!("{error}; {REMEDY}"))
});

const REMEDY: &str = "build the examples with `cargo xtask plugins --examples`";

/// Defines the tests of one language in a separate module, so that the tests of a language can be
/// left out if its tools are missing.
macro_rules! examples_in {
    ($language:ident) => {
        mod $language {
            const LANGUAGE: &str = stringify!($language);

            #[test]
            fn both_plugins_are_taken_and_import_nothing_but_ours() {
                super::both_are_taken(LANGUAGE);
            }

            #[tokio::test]
            async fn the_detector_says_when_a_series_leaves_its_range_and_when_it_is_back() {
                super::onset_ongoing_and_clear(LANGUAGE).await;
            }

            #[tokio::test]
            async fn where_frames_end_changes_no_finding() {
                super::frames_change_nothing(LANGUAGE).await;
            }

            #[tokio::test]
            async fn each_series_has_a_memory_of_its_own_until_it_is_closed() {
                super::memory_per_series(LANGUAGE).await;
            }

            #[tokio::test]
            async fn wrong_settings_and_parameters_are_told_by_their_key() {
                super::wrong_keys(LANGUAGE).await;
            }

            #[tokio::test]
            async fn the_action_tells_people_restarts_waits_and_looks() {
                super::action_to_its_end(LANGUAGE).await;
            }

            #[tokio::test]
            async fn the_action_goes_on_without_a_notice_and_gives_up_without_a_restart() {
                super::refusals(LANGUAGE).await;
            }
        }
    };
}

examples_in!(javascript);
examples_in!(python);

fn both_are_taken(language: &str) {
    let plugins = PLUGINS.list();
    for (kind, name) in [
        (PluginKind::Detector, "range"),
        (PluginKind::Action, "announced-restart"),
    ] {
        let file = format!(
            "{language}-{}.wasm",
            if kind == PluginKind::Detector {
                "detector"
            } else {
                "action"
            }
        );
        let info = plugins.iter().find(|info| info.file == file);
        let info = info.unwrap_or_else(|| panic!("there is no {file} in {FOLDER}; {REMEDY}"));
        assert_eq!(
            (info.error.as_deref(), info.kind),
            (None, Some(kind)),
            "a foreign import would be an error"
        );
        assert_eq!(info.name, format!("{language}-{name}"));
        assert_eq!(info.settings["additionalProperties"], json!(false));
    }
    let needs = PLUGINS.needs(&format!("{language}-announced-restart"));
    assert!(
        needs.contains(&("restart".to_owned(), "Deployment".to_owned())),
        "{needs:?}"
    );
}

async fn detector(language: &str, settings: Value) -> Result<DetectorHandle, PluginError> {
    PLUGINS
        .detector(&format!("{language}-range"), &settings)
        .await
}

/// Opens a detector that needs two samples outside of 10 to 20 for an onset, and two samples inside
/// for the clear.
async fn detector_in_doubt(language: &str) -> DetectorHandle {
    let settings = json!({"low": 10, "high": 20, "for_samples": 2, "clear_samples": 2});
    detector(language, settings)
        .await
        .unwrap_or_else(|error| panic!("{error}; {REMEDY}"))
}

/// Builds a frame with one sample per second of one series. The first frame also announces the
/// series.
fn frame(id: u32, first_second: i64, values: &[f64]) -> Frame {
    let mut frame = Frame {
        now: first_second * 1000,
        ..Frame::default()
    };
    if first_second == 0 {
        frame.opened.push((
            id,
            Labels::new([("__name__", "latency"), ("pod", &format!("web-{id}"))]),
        ));
    }
    for (second, value) in (first_second..).zip(values) {
        frame.push(id, second * 1000, *value);
        frame.now = second * 1000;
    }
    frame
}

const VALUES: [f64; 12] = [
    15.0, 25.0, 15.0, 25.0, 26.0, 27.0, 60.0, 15.0, 25.0, 12.0, 13.0, 5.0,
];
/// Expected findings in [`VALUES`]. A single sample outside the range is no onset, and neither is
/// the last sample.
const CHANGES: [(usize, Phase); 3] = [(4, Phase::Onset), (6, Phase::Ongoing), (10, Phase::Clear)];

async fn onset_ongoing_and_clear(language: &str) {
    let detector = detector_in_doubt(language).await;
    let verdict = detector.observe(frame(7, 0, &VALUES), true).await.unwrap();
    let found = verdict
        .findings
        .iter()
        .map(|finding| (finding.sample as usize, finding.phase));
    assert_eq!(found.collect::<Vec<_>>(), CHANGES);
    let onset = &verdict.findings[0];
    assert_eq!(
        (onset.direction, onset.expected),
        (
            Direction::Above,
            Some(Range {
                low: Some(10.0),
                high: Some(20.0)
            })
        )
    );
    assert!(
        onset.reason.contains("26") && onset.reason.contains("above"),
        "{}",
        onset.reason
    );
    // The scale is 5, half the width of the range: the value 20 would score 1.
    assert_eq!(
        verdict.scores,
        VALUES.map(|value| (value - 15.0).abs() / 5.0)
    );
    let below = detector.observe(frame(7, 12, &[5.0]), false).await.unwrap();
    assert_eq!(below.scores, [0.0; 0]);
    assert_eq!(
        (below.findings[0].phase, below.findings[0].direction),
        (Phase::Onset, Direction::Below)
    );
}

async fn frames_change_nothing(language: &str) {
    for size in [1, 5] {
        let detector = detector_in_doubt(language).await;
        let mut found = Vec::new();
        for (part, values) in VALUES.chunks(size).enumerate() {
            let first = part * size;
            let verdict = detector
                .observe(frame(7, first as i64, values), false)
                .await
                .unwrap();
            found.extend(
                verdict
                    .findings
                    .iter()
                    .map(|finding| (first + finding.sample as usize, finding.phase)),
            );
        }
        assert_eq!(found, CHANGES, "{size} a frame");
    }
}

async fn memory_per_series(language: &str) {
    let detector = detector_in_doubt(language).await;
    let mut both = frame(1, 0, &[30.0]);
    both.opened.extend(frame(2, 0, &[]).opened);
    both.push(2, 0, 15.0);
    assert_eq!(detector.observe(both, false).await.unwrap().findings, []);
    // The frame contains the first sample of series 2 outside the range, and the second one of
    // series 1. It is the last sample before series 1 is closed.
    let mut next = frame(2, 1, &[30.0]);
    next.push(1, 1000, 30.0);
    next.closed.push(1);
    let samples = detector
        .observe(next, false)
        .await
        .unwrap()
        .findings
        .into_iter()
        .map(|finding| finding.sample);
    assert_eq!(samples.collect::<Vec<_>>(), [1]);
    let error = detector
        .observe(frame(1, 2, &[30.0]), false)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PluginError::Failed(reason) if reason.contains("not open")),
        "{error}"
    );
    assert_eq!(
        detector
            .observe(frame(2, 3, &[30.0]), false)
            .await
            .unwrap()
            .findings
            .len(),
        1,
        "it goes on"
    );
}

async fn wrong_keys(language: &str) {
    for (settings, key) in [
        (json!({"high": 1}), "low"),
        (json!({"low": 0, "high": "1"}), "high"),
        (json!({"low": 2, "high": 1}), "high"),
        (
            json!({"low": 0, "high": 1, "for_samples": 0}),
            "for_samples",
        ),
        (
            json!({"low": 0, "high": 1, "clear_samples": true}),
            "clear_samples",
        ),
        (json!({"low": 0, "high": 1, "hihg": 2}), "hihg"),
    ] {
        let error = detector(language, settings.clone())
            .await
            .err()
            .expect("wrong settings");
        assert!(names(&error, key), "{settings}: {error}");
    }
    for (parameters, key) in [
        (json!({"channel": ""}), "channel"),
        (json!({"settle_ms": -1}), "settle_ms"),
        (json!({"settle_ms": false}), "settle_ms"),
        (json!({"chanel": "on-call"}), "chanel"),
    ] {
        let name = format!("{language}-announced-restart");
        let error = PLUGINS
            .action(&name, incident(Some(web())), &parameters)
            .await
            .err()
            .expect("wrong parameters");
        assert!(names(&error, key), "{parameters}: {error}");
    }
}

fn names(error: &PluginError, key: &str) -> bool {
    matches!(error, PluginError::Invalid(message) if message.contains(&format!("`{key}`")))
}

fn incident(target: Option<Target>) -> ActionIncident {
    ActionIncident {
        id: "inc-0123456789abcdef".to_owned(),
        target,
        snapshot: json!({"replicas": {"desired": 3, "ready": 1}}),
        findings: json!([]),
        diagnosis: Value::Null,
    }
}

/// Runs an action while `world` answers its operations. Returns the steps that the action asked
/// for, and its final step.
async fn play(
    language: &str,
    incident: ActionIncident,
    world: impl Fn(&Operation) -> ActionOutcome,
) -> (Vec<ActionStep>, ActionStep) {
    let name = format!("{language}-announced-restart");
    let parameters = json!({"channel": "on-call", "settle_ms": 5000});
    let run = PLUGINS
        .action(&name, incident, &parameters)
        .await
        .unwrap_or_else(|error| panic!("{error}; {REMEDY}"));
    let mut steps = Vec::new();
    let mut last = ActionOutcome::Begin;
    loop {
        assert!(steps.len() < 10, "it does not end: {steps:?}");
        let step = run.next(0, last).await.unwrap();
        last = match &step {
            ActionStep::Perform(operation) => world(operation),
            ActionStep::WaitMs(_) => ActionOutcome::Waited,
            ActionStep::Finished(_) | ActionStep::GaveUp(_) => return (steps, step),
        };
        steps.push(step);
    }
}

/// Answers that the operation is done. An inspection shows three replicas.
fn well(operation: &Operation) -> ActionOutcome {
    ActionOutcome::Done(match operation {
        Operation::Inspect { .. } => json!({"replicas": {"desired": 3, "ready": 3}}),
        _ => Value::Null,
    })
}

async fn action_to_its_end(language: &str) {
    let (steps, end) = play(language, incident(Some(web())), well).await;
    let notice = Notice {
        channel: "on-call".to_owned(),
        title: "restarting shop/Deployment/web".to_owned(),
        text: "incident: inc-0123456789abcdef".to_owned(),
    };
    let expected = [
        ActionStep::Perform(Operation::Notify(notice)),
        ActionStep::Perform(Operation::Restart { target: web() }),
        ActionStep::WaitMs(5000),
        ActionStep::Perform(Operation::Inspect { target: web() }),
    ];
    assert_eq!(steps, expected);
    assert_eq!(
        end,
        ActionStep::Finished("restarted shop/Deployment/web: 3 of 3 replicas are ready".to_owned())
    );
}

async fn refusals(language: &str) {
    let no_notice = |operation: &Operation| match operation {
        Operation::Notify(_) => ActionOutcome::Denied("it was told before".to_owned()),
        other => well(other),
    };
    let (steps, end) = play(language, incident(Some(web())), no_notice).await;
    assert!(
        steps.len() == 4 && matches!(end, ActionStep::Finished(_)),
        "{end:?}"
    );

    for refusal in [
        ActionOutcome::Denied("the reason".to_owned()),
        ActionOutcome::Failed("the reason".to_owned()),
        ActionOutcome::InDoubt("the reason".to_owned()),
    ] {
        let no_restart = |operation: &Operation| match operation {
            Operation::Restart { .. } => refusal.clone(),
            other => well(other),
        };
        let (steps, end) = play(language, incident(Some(web())), no_restart).await;
        assert_eq!(steps.len(), 2, "nothing after {refusal:?}: {steps:?}");
        assert!(
            matches!(&end, ActionStep::GaveUp(why) if why.contains("the reason")),
            "{end:?}"
        );
    }

    let rolling = ActionIncident {
        snapshot: json!({"rolling_out": true}),
        ..incident(Some(web()))
    };
    for nothing_to_do in [incident(None), rolling] {
        let (steps, end) = play(language, nothing_to_do, well).await;
        assert!(
            steps.is_empty() && matches!(end, ActionStep::GaveUp(_)),
            "{steps:?}, {end:?}"
        );
    }
}
