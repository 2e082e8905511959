//! Tests the host with well-behaved and hostile guests.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::guests::{folder, frame, incident, load, moody, open, seen};
use anomalyzer_domain::{Direction, Operation, Phase, PluginKind, Range, Target};
use anomalyzer_plugin_host::{
    ActionOutcome, ActionStep, Frame, PluginConfig, PluginError, Plugins,
};
use anomalyzer_test_support::guest::{self, Detector, SPIN, mood};

/// Returns the error of a file that can't be used.
fn refused(bytes: Vec<u8>) -> String {
    let plugins = load(&[
        ("bad.wasm", bytes),
        ("good.wasm", Detector::default().build()),
    ]);
    assert!(
        plugins.has_detector("moody"),
        "the good file beside it is loaded"
    );
    assert_eq!(plugins.health().broken.len(), 1);
    plugins.list()[0].error.clone().unwrap()
}

#[tokio::test]
async fn a_detector_is_listed_opened_and_keeps_its_memory_from_frame_to_frame() {
    let plugins = moody();
    let [info] = &plugins.list()[..] else {
        panic!("not one plugin")
    };
    assert_eq!(
        (info.name.as_str(), info.version.as_str(), info.kind),
        ("moody", "0.1.0", Some(PluginKind::Detector))
    );
    assert_eq!(info.settings, json!({"type": "object"}));
    assert_eq!(info.error, None);
    let handle = open(&plugins).await;
    assert_eq!(handle.history_ms(), 60_000);
    assert_eq!(handle.digest(), info.digest);
    assert_eq!(seen(&handle).await, 1.0);
    assert_eq!(seen(&handle).await, 2.0);
    assert_eq!(
        seen(&open(&plugins).await).await,
        1.0,
        "another handle is another instance"
    );
}

#[tokio::test]
async fn a_core_module_as_cargo_builds_it_is_a_plugin_too() {
    let bytes = guest::core_module("moody");
    let plugins = load(&[("moody.wasm", bytes.clone())]);
    assert_eq!(
        plugins.list()[0].digest,
        hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes)),
        "of the file"
    );
    assert_eq!(seen(&open(&plugins).await).await, 1.0);
}

#[tokio::test]
async fn a_frame_reaches_the_guest_as_it_was_and_the_verdict_comes_back() {
    let plugins = moody();
    let mut frame = Frame {
        now: 9,
        opened: frame(0.0).opened,
        ..Frame::default()
    };
    for sample in 0..5000 {
        frame.push(
            sample % 3,
            i64::from(sample) * 1_000_000_007,
            1.0 + f64::from(sample) / 5000.0,
        );
    }
    let frame = Arc::new(frame);
    let verdict = open(&plugins)
        .await
        .observe(frame.clone(), true)
        .await
        .unwrap();
    assert_eq!(verdict.scores, frame.values);
    let [finding] = &verdict.findings[..] else {
        panic!("not one finding")
    };
    assert_eq!(
        (finding.phase, finding.direction, finding.sample),
        (Phase::Onset, Direction::Above, 0)
    );
    assert_eq!(
        finding.severity,
        4999.0 * 1_000_000_007.0,
        "the time of the last sample"
    );
    assert_eq!(
        finding.expected,
        Some(Range {
            low: Some(1.0),
            high: None
        }),
        "the series of the last sample"
    );
    assert_eq!(finding.reason, "a", "the second label");
}

#[tokio::test]
async fn a_trap_costs_that_instance_only_and_it_can_be_opened_again() {
    let plugins = moody();
    let (one, other) = (open(&plugins).await, open(&plugins).await);
    assert_eq!(seen(&one).await, 1.0);
    assert_eq!(seen(&other).await, 1.0);
    let error = one.observe(frame(mood::TRAP), false).await.unwrap_err();
    assert!(
        matches!(&error, PluginError::Trap { call: "observe", reason, .. } if reason.contains("unreachable")),
        "{error}"
    );
    assert!(error.lost_instance());
    assert_eq!(
        one.observe(frame(mood::GOOD), false).await,
        Err(PluginError::Lost("moody".to_owned()))
    );
    assert_eq!(seen(&other).await, 2.0, "its neighbour remembers");
    one.reopen().await.unwrap();
    assert_eq!(seen(&one).await, 1.0, "it starts from nothing");
    assert_eq!(plugins.health().faults, 1);
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_at_its_deadline() {
    let plugins = moody();
    let handle = open(&plugins).await;
    let start = Instant::now();
    let error = handle.observe(frame(mood::SPIN), false).await.unwrap_err();
    let limit = Duration::from_millis(400);
    assert_eq!(
        error,
        PluginError::Deadline {
            plugin: "moody".to_owned(),
            call: "observe",
            limit
        }
    );
    assert!(start.elapsed() >= limit, "not early");
}

#[tokio::test]
async fn a_guest_that_hoards_is_told_from_one_that_traps() {
    let plugins = moody();
    let handle = open(&plugins).await;
    let error = handle.observe(frame(mood::HOARD), false).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin `moody` reached a limit in `observe`: memory (bytes) is limited to 8388608, 8388608 are in use, \
         9437184 were asked for"
    );
    handle.reopen().await.unwrap();
    // A guest that makes do with its memory goes on. A later trap is reported as a trap.
    handle.observe(frame(mood::CONTENT), false).await.unwrap();
    let error = handle.observe(frame(mood::TRAP), false).await.unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    handle.reopen().await.unwrap();
    let error = handle
        .observe(frame(mood::HOARD_TABLE), false)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            PluginError::Limit {
                what: "table elements",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn whatever_a_guest_returns_against_the_contract_ends_it() {
    let plugins = moody();
    for (mood, told) in [
        (
            mood::NAN_SCORE,
            "the score of the finding at sample 0 is NaN",
        ),
        (mood::THREE_SCORES, "it returned 3 scores instead of 0"),
        (mood::FAR_SAMPLE, "a finding names sample 77 of 1"),
        (mood::LONG_LIST, "too much data"),
        (mood::LIST_OUTSIDE, "out"),
        (mood::NOT_UTF8, "utf-8"),
        (mood::RECURSE, "call stack exhausted"),
        (
            mood::LAST_WORDS,
            "unreachable` instruction executed (its last words: no more patience)",
        ),
    ] {
        let handle = open(&plugins).await;
        let error = handle.observe(frame(mood), false).await.unwrap_err();
        assert!(error.lost_instance(), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn an_error_the_guest_returns_leaves_it_as_it_was() {
    let plugins = moody();
    let handle = open(&plugins).await;
    let error = handle
        .observe(frame(mood::SAY_FAILED), false)
        .await
        .unwrap_err();
    assert_eq!(error, PluginError::Failed("no more patience".to_owned()));
    assert_eq!(seen(&handle).await, 2.0);
}

#[tokio::test]
async fn a_flood_of_log_messages_does_not_disturb_the_call() {
    let plugins = moody();
    let handle = open(&plugins).await;
    assert_eq!(
        handle
            .observe(frame(mood::FLOOD_LOG), false)
            .await
            .unwrap()
            .findings
            .len(),
        1
    );
}

#[tokio::test]
async fn a_frame_with_a_value_that_is_not_finite_never_reaches_a_guest() {
    let plugins = moody();
    let handle = open(&plugins).await;
    let error = handle.observe(frame(f64::NAN), false).await.unwrap_err();
    assert!(matches!(error, PluginError::Input { .. }), "{error}");
    assert_eq!(seen(&handle).await, 1.0);
}

#[tokio::test]
async fn dropping_a_handle_frees_its_memory() {
    let plugins = moody();
    let handle = open(&plugins).await;
    assert_eq!(plugins.health().memory_bytes, 16 * 65_536);
    drop(handle);
    let deadline = Instant::now() + Duration::from_secs(10);
    while plugins.health().memory_bytes > 0 {
        assert!(Instant::now() < deadline, "the instance was not dropped");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_memory_of_all_instances_together_is_limited() {
    let (_dir, mut config) = folder(&[("moody.wasm", Detector::default().build())]);
    config.limits.total_memory_bytes = 2 << 20;
    let plugins = Plugins::load(config).unwrap();
    let _two = (open(&plugins).await, open(&plugins).await);
    let error = plugins.detector("moody", &json!({})).await.err().unwrap();
    assert!(
        matches!(
            error,
            PluginError::Limit {
                what: "memory of all plugins (bytes)",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_queue_holds_callers_back_and_is_counted() {
    let (_dir, mut config) = folder(&[("moody.wasm", Detector::default().build())]);
    config.limits.threads = 1;
    config.limits.queue = 1;
    let plugins = Plugins::load(config).unwrap();
    let (spinning, waiting) = (open(&plugins).await, open(&plugins).await);
    let call = |mood| waiting.observe(frame(mood), false);
    let (spun, one, two, three) = tokio::join!(
        spinning.observe(frame(mood::SPIN), false),
        call(mood::GOOD),
        call(mood::GOOD),
        call(mood::GOOD)
    );
    assert!(matches!(
        spun,
        Err(PluginError::Deadline { .. } | PluginError::Starved { .. })
    ));
    let mut scores = [one, two, three].map(|verdict| verdict.unwrap().findings[0].score);
    scores.sort_by(f64::total_cmp);
    assert_eq!(scores, [1.0, 2.0, 3.0], "none is lost");
    assert!(plugins.health().full > 0);
}

#[tokio::test]
async fn an_action_says_its_steps_and_is_told_the_outcomes() {
    let plugins = load(&[("scale-up.wasm", guest::action("scale-up"))]);
    assert!(plugins.has_action("scale_up") && plugins.has_action("scale-up"));
    assert!(!plugins.has_detector("scale-up"));
    assert_eq!(
        plugins.needs("scale_up"),
        [("scale".to_owned(), "Deployment".to_owned())]
    );
    let shown = incident();
    let target = Target::new("shop", "Deployment", "web");
    let run = plugins
        .action("scale_up", shown.clone(), &json!({"by": 2}))
        .await
        .unwrap();
    assert_eq!(run.digest(), plugins.list()[0].digest);
    let scale = ActionStep::Perform(Operation::Scale {
        target,
        replicas: 4,
    });
    assert_eq!(run.next(1, ActionOutcome::Begin).await.unwrap(), scale);
    assert_eq!(
        run.next(2, ActionOutcome::Done(json!({}))).await.unwrap(),
        ActionStep::Finished("well done".to_owned())
    );
    let denied = ActionOutcome::Denied("it is\nSunday".to_owned());
    assert_eq!(
        run.next(3, denied).await.unwrap(),
        ActionStep::GaveUp("it is Sunday".to_owned())
    );
    let error = run.next(4, ActionOutcome::Waited).await.unwrap_err();
    assert!(
        matches!(&error, PluginError::Contract { reason, .. } if reason.contains("the patch is not JSON")),
        "{error}"
    );
    assert_eq!(
        run.next(5, ActionOutcome::Begin).await,
        Err(PluginError::Lost("scale-up".to_owned()))
    );
    let run = plugins.action("scale_up", shown, &json!({})).await.unwrap();
    let error = run
        .next(6, ActionOutcome::Failed("no".to_owned()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PluginError::Trap { call: "next", .. }),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_component_is_told_and_the_others_load() {
    assert!(refused(b"not wasm at all".to_vec()).contains("bad.wasm is not a usable plugin"));
    assert!(!refused(Vec::new()).is_empty());
    let whole = Detector::default().build();
    assert!(!refused(whole[..whole.len() / 2].to_vec()).is_empty());
    assert!(!refused(wat::parse_str("(module)").unwrap()).is_empty());
    assert!(refused(vec![0; (1 << 20) + 1]).contains("larger than 1048576 bytes"));
}

#[test]
fn a_foreign_import_is_refused_by_name() {
    let sockets =
        r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "connect" (func)))))"#;
    let error = refused(wat::parse_str(sockets).unwrap());
    assert!(
        error.contains("it imports `wasi:sockets/tcp@0.2.0`"),
        "{error}"
    );
    let disguised = r#"(component (import "anomalyzer:plugin/types@0.1.0" (instance (export "connect" (func)))))"#;
    assert!(
        refused(wat::parse_str(disguised).unwrap())
            .contains("it imports `anomalyzer:plugin/types@0.1.0`")
    );
}

#[test]
fn a_component_of_another_kind_is_refused() {
    let error = refused(wat::parse_str("(component)").unwrap());
    assert!(error.contains("exports neither"), "{error}");
}

#[test]
fn a_guest_that_spins_while_it_is_made_or_asked_who_it_is_is_stopped() {
    for (guest, call) in [
        (
            Detector {
                start: SPIN,
                ..Detector::default()
            },
            "instantiate",
        ),
        (
            Detector {
                describe: SPIN,
                ..Detector::default()
            },
            "describe",
        ),
        (
            Detector {
                post_describe: SPIN,
                ..Detector::default()
            },
            "describe",
        ),
    ] {
        let (_dir, mut config) = folder(&[("bad.wasm", guest.build())]);
        config.limits.describe_deadline = Duration::from_millis(300);
        let plugins = Plugins::load(config).unwrap();
        let error = plugins.list()[0].error.clone().unwrap();
        assert!(
            error.contains(&format!("did not return from `{call}` within 300ms")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_guest_that_spins_or_traps_when_opened_gives_no_handle() {
    let (_dir, mut config) = folder(&[
        (
            "spin.wasm",
            Detector {
                name: "spin",
                open: SPIN,
                ..Detector::default()
            }
            .build(),
        ),
        (
            "alloc.wasm",
            Detector {
                name: "alloc",
                realloc: SPIN,
                ..Detector::default()
            }
            .build(),
        ),
        (
            "trap.wasm",
            Detector {
                name: "trap",
                open: "(unreachable)",
                ..Detector::default()
            }
            .build(),
        ),
    ]);
    config.limits.describe_deadline = Duration::from_millis(300);
    let plugins = Plugins::load(config).unwrap();
    for name in ["spin", "alloc"] {
        let error = plugins.detector(name, &json!({})).await.err().unwrap();
        assert!(
            matches!(
                error,
                PluginError::Deadline { call: "open", .. }
                    | PluginError::Starved { call: "open", .. }
            ),
            "{error}"
        );
    }
    let error = plugins.detector("trap", &json!({})).await.err().unwrap();
    assert!(
        matches!(error, PluginError::Trap { call: "open", .. }),
        "{error}"
    );
    assert_eq!(plugins.health().memory_bytes, 0);
}

#[test]
fn a_guest_that_is_born_too_large_is_told_the_limit() {
    let error = refused(
        Detector {
            pages: 200,
            ..Detector::default()
        }
        .build(),
    );
    assert!(
        error.contains(
            "memory (bytes) is limited to 8388608, 0 are in use, 13107200 were asked for"
        ),
        "{error}"
    );
}

#[test]
fn a_guest_that_describes_itself_badly_is_refused() {
    for (guest, told) in [
        (
            Detector {
                name: "Moody One",
                ..Detector::default()
            },
            "it calls itself `Moody One`",
        ),
        (
            Detector {
                name: "",
                ..Detector::default()
            },
            "it calls itself ``",
        ),
        (
            Detector {
                settings: "{\"type\":",
                ..Detector::default()
            },
            "is not JSON",
        ),
        (
            Detector {
                settings: "[1]",
                ..Detector::default()
            },
            "not a JSON Schema",
        ),
        (
            Detector {
                settings: &"[".repeat(200),
                ..Detector::default()
            },
            "is not JSON",
        ),
        (
            Detector {
                history_ms: u64::MAX,
                ..Detector::default()
            },
            "wants to see 18446744073709551615 ms of the past",
        ),
    ] {
        let error = refused(guest.build());
        assert!(error.contains(told), "{error}");
    }
}

/// Takes about 2 s. The bytes are the same every time, so that a failure can be examined.
#[test]
fn a_file_with_some_bytes_changed_is_refused_or_runs_within_its_limits() {
    let (whole, mut random) = (Detector::default().build(), fastrand::Rng::with_seed(4));
    let files = (0..150).map(|_| {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if random.u8(..10) == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        }
        bytes
    });
    let names: Vec<String> = (0..150).map(|number| format!("{number:03}.wasm")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(String::as_str).zip(files).collect();
    let (_dir, mut config) = folder(&files);
    config.limits.describe_deadline = Duration::from_millis(50);
    let plugins = Plugins::load(config).unwrap();
    let infos = plugins.list();
    assert_eq!(infos.len(), 150);
    assert!(infos.iter().filter(|info| info.error.is_some()).count() > 50);
    for info in infos
        .into_iter()
        .filter(|info| info.error.is_none() && info.kind == Some(PluginKind::Detector))
    {
        // Any answer is good.
        let Ok(mut monitor) = plugins.monitor(&info.name, &json!({})) else {
            continue;
        };
        let _ = monitor.observe(&frame(mood::GOOD), true);
    }
}

#[test]
fn of_two_files_with_one_name_the_first_counts() {
    let bytes = Detector::default().build();
    let plugins = load(&[("a.wasm", bytes.clone()), ("b.wasm", bytes)]);
    assert!(plugins.has_detector("moody"));
    assert_eq!(plugins.list()[0].error, None);
    assert!(
        plugins.list()[1]
            .error
            .clone()
            .unwrap()
            .contains("its name `moody` is taken by a.wasm")
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_with_the_remedy() {
    let plugins = load(&[]);
    let error = plugins.detector("zscore", &json!({})).await.err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("there is no detector `zscore` in "),
        "{error}"
    );
    assert!(error.to_string().contains("cargo xtask plugins"), "{error}");
    let config = PluginConfig {
        folder: "/nowhere/at/all".into(),
        ..PluginConfig::default()
    };
    let error = Plugins::load(config).err().unwrap();
    assert!(error.to_string().contains("cargo xtask plugins"), "{error}");
}

#[test]
fn compiled_code_is_kept_in_the_cache_folder() {
    let (dir, mut config) = folder(&[("moody.wasm", Detector::default().build())]);
    config.cache = Some(dir.path().join("cache"));
    Plugins::load(config.clone()).unwrap();
    assert!(fs::read_dir(dir.path().join("cache")).unwrap().count() > 0);
    assert!(
        Plugins::load(config).unwrap().has_detector("moody"),
        "also when it comes from there"
    );
}

#[test]
fn the_configuration_refuses_keys_it_does_not_know() {
    let config: PluginConfig =
        toml::from_str("folder = 'p'\n[limits]\ncall_deadline = '250ms'").unwrap();
    assert_eq!(config.limits.call_deadline, Duration::from_millis(250));
    assert!(
        config.canonical_nan && config.contained,
        "determinism and containment are no settings"
    );
    assert!(toml::from_str::<PluginConfig>("[limits]\nmemory = 1").is_err());
    assert!(toml::from_str::<PluginConfig>("canonical_nan = false").is_err());
    assert!(toml::from_str::<PluginConfig>("contained = false").is_err());
}

#[test]
fn the_same_frames_give_the_same_verdicts_by_value_and_shared() {
    let plugins = moody();
    let mut one = plugins.monitor("moody", &json!({})).unwrap();
    let mut other = plugins.monitor("moody", &json!({})).unwrap();
    let shared = Arc::new(frame(mood::GOOD));
    for _ in 0..3 {
        assert_eq!(
            one.observe(&shared, false),
            other.observe(&frame(mood::GOOD), false)
        );
    }
}
