//! Tests of `anomalyzer check` on whole files.

use anomalyzer::cli::Output;
use anomalyzer::cli::check::{CheckArgs, run};
use anomalyzer_common::error_chain;
use anomalyzer_detect::EngineError;
use anomalyzer_domain::PluginKind;
use anomalyzer_plugin_host::{PluginConfig, Plugins};
use serde_json::{Value, json};

/// Checks a file that contains `text`. Returns true if the file is good, and the output.
async fn check(text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, text).unwrap();
    let mut out = Vec::new();
    let good = run(
        &CheckArgs {
            file,
            output: Output::Text,
            compiler: None,
        },
        &|_| None,
        &mut out,
    )
    .await
    .unwrap();
    let said = String::from_utf8(out).unwrap();
    (
        good,
        said.replace(&format!("{}/", folder.path().display()), ""),
    )
}

fn with_plugins(text: &str) -> String {
    format!(
        "plugins.folder = '{}'\n{text}",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins")
    )
}

fn signal(detectors: &str) -> String {
    format!(
        "[local.groups.web]\ncommand = ['web']\nfirst_port = 8000\n[[collect.scrape]]\njob = 'web'\ntargets = {{ group = 'web' }}\n\
         [[signal]]\nname = 's'\nsource = {{ gauge = {{ of = 'x' }} }}\ntarget = {{ kind = 'Process', name = 'web' }}\n\
         detectors = [\n{detectors}\n]\n"
    )
}

#[tokio::test]
async fn detectors_that_are_not_there_or_refuse_their_settings_are_found_in_their_line() {
    for (detector, says) in [
        ("{ name = 'zscroe' }", "a.toml:13:1: detector `zscroe`: "),
        (
            "{ name = 'zscore' },\n{ name = 'zscore', settings = { spike = -1.0 } }",
            "a.toml:14:1: detector `zscore`: ",
        ),
        ("{ name = 'zscore', settings = { spiek = 2.0 } }", "spiek"),
    ] {
        let (good, said) = check(&with_plugins(&signal(detector))).await;
        assert!(!good && said.contains(says), "{said}");
    }
    let (good, said) = check(&with_plugins(&signal("{ name = 'zscore' }"))).await;
    assert!(good, "{said}");
    assert_eq!(said, "a.toml is good: 1 signals\n");
}

#[tokio::test]
async fn a_signal_with_a_long_range_is_noted_with_the_time_of_its_verdict() {
    let note = async |range: &str, verify: &str| {
        let text = format!(
            "[collect.prometheus]\nurl = 'http://127.0.0.1:9'\n[[signal]]\nname = 'errors'\n\
             source = {{ query = 'rate(x[{range}])' }}\ntarget = {{ kind = 'Process', name = 'web' }}\n{verify}"
        );
        let (good, said) = check(&with_plugins(&text)).await;
        assert!(good, "{said}");
        said.split_once('\n').unwrap().1.to_owned()
    };
    let notes = note("5m", "").await;
    let told = "judged 6m after the operation instead of 3m, because a sample of errors depends on the 5m before it";
    assert!(notes.contains(told), "{notes}");
    let notes = note("1h", "").await;
    assert!(notes.contains("is always `unknown`"), "{notes}");
    assert!(
        notes.contains("`[verify] observe_at_most` is 30m"),
        "{notes}"
    );
    for (range, verify) in [
        ("1m", ""),
        ("5m", "[verify]\nobserve = '10m'\n"),
        ("5m", "[verify]\nobserve = '0s'\n"),
    ] {
        assert_eq!(note(range, verify).await, "", "{range} {verify}");
    }
}

#[tokio::test]
async fn without_plugins_it_says_what_was_not_checked() {
    let (good, said) = check(&format!(
        "plugins.folder = '/nowhere'\n{}",
        signal("{ name = 'zscroe' }")
    ))
    .await;
    assert!(
        good && said.contains(
            "note: detectors and grants were not checked: there is no plugin folder /nowhere"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn a_policy_that_a_running_service_does_not_follow_is_noted() {
    for (policy, noted) in [("true", true), ("false", false)] {
        let text = format!("plugins.require_signature = {policy}\n");
        let (good, said) = check(&format!("plugins.folder = '/nowhere'\n{text}")).await;
        let note = "note: plugins.require_signature takes effect at the next start";
        assert_eq!((good, said.contains(note)), (true, noted), "{said}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_had_and_a_kubeconfig_that_is_not_there_are_found() {
    let token = "[[api.tokens]]\nname = 'a'\nrole = 'viewer'\nfile = '/nowhere/token'\n";
    let (good, said) = check(&with_plugins(token)).await;
    assert!(
        !good && said.contains("a.toml:2:1: api.tokens `a`: /nowhere/token"),
        "{said}"
    );
    let (good, said) = check(&with_plugins(
        "[kubernetes]\nkubeconfig = '/nowhere/config'\n",
    ))
    .await;
    assert!(
        !good && said.contains("a.toml:3:1: cannot use the kubeconfig /nowhere/config"),
        "{said}"
    );
}

#[tokio::test]
async fn a_grant_of_an_action_that_is_not_there_yet_is_noted() {
    let (good, said) = check(&with_plugins(
        "[[grant]]\nplugin = 'mine'\noperation = 'scale'\n",
    ))
    .await;
    assert!(
        good && said.contains("note: `scale` of `mine` is granted and there is no such action"),
        "{said}"
    );
}

/// Returns values that may be wrong for a setting with this default.
fn doubtful(default: &Value) -> Vec<Value> {
    let wrong_types = [json!("text"), json!([1]), json!({"a": 1})];
    let numbers = [json!(-1), json!(0), json!(1), json!(1e300), json!(u32::MAX)];
    let all = wrong_types.into_iter().chain(numbers);
    all.filter(|value| value != default).collect()
}

#[tokio::test]
async fn a_setting_that_a_detector_refuses_is_stated_once() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins");
    let config = PluginConfig {
        folder: folder.into(),
        ..PluginConfig::default()
    };
    let plugins = tokio::task::spawn_blocking(|| Plugins::load(config).unwrap());
    let plugins = plugins.await.unwrap();
    let detectors = plugins.list().into_iter();
    let detectors = detectors.filter(|info| info.kind == Some(PluginKind::Detector));
    let (mut tried, mut refused) = (0, 0);
    for info in detectors {
        let properties = info.settings["properties"].as_object().cloned();
        for (key, schema) in properties.unwrap_or_default() {
            tried += 1;
            let mut is_refused = false;
            for value in doubtful(&schema["default"]) {
                let settings = json!({ &key: value });
                let Err(source) = plugins.detector(&info.name, &settings).await else {
                    continue;
                };
                is_refused = true;
                let error = anyhow::Error::from(EngineError::Detector {
                    signal: "web".to_owned(),
                    detector: info.name.clone(),
                    source,
                });
                // `serve` fails with the error of the engine, and with more around it.
                let error = error.context("cannot start");
                let line = error_chain::describe(error.as_ref());
                let parts: Vec<&str> = line.split(": ").collect();
                let once = parts.iter().collect::<std::collections::BTreeSet<_>>();
                assert_eq!(once.len(), parts.len(), "{settings}: {line}");
                assert!(line.starts_with("cannot start: signal `web`: "), "{line}");
            }
            refused += usize::from(is_refused);
        }
    }
    assert!(
        tried >= 40 && refused > tried * 9 / 10,
        "{refused} of {tried}"
    );
}
