//! Tests of `anomalyzer plugins inspect|test` on the plugins that come with the host.

use std::path::PathBuf;

use anomalyzer::cli::plugins::{PluginsCommand, PluginsError, run};
use clap::Parser;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Binary {
    #[command(flatten)]
    plugins: PluginsCommand,
}

fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins").into()
}

async fn output(arguments: &[&str], file: &str) -> Result<(bool, String), PluginsError> {
    let file = folder().join(file).display().to_string();
    let arguments = ["plugins"]
        .into_iter()
        .chain(arguments.iter().copied())
        .chain([file.as_str()]);
    let command = Binary::try_parse_from(arguments).unwrap().plugins;
    let mut out = Vec::new();
    let good = run(command, &mut out, CancellationToken::new()).await?;
    Ok((good, String::from_utf8(out).unwrap()))
}

async fn tested(file: &str, settings: &str) -> Value {
    let (good, report) = output(&["test", "--output", "json", "--settings", settings], file)
        .await
        .unwrap();
    assert!(good, "{file}: {report}");
    serde_json::from_str(&report).unwrap()
}

fn names(report: &Value) -> Vec<&str> {
    report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_detectors_that_come_with_the_host_pass_the_conformance_suite() {
    for name in [
        "drop",
        "error-rate",
        "flatline",
        "forecast-breach",
        "forest",
        "latency",
        "level-shift",
        "novelty",
        "seasonal",
        "slo-burn",
        "spike",
    ] {
        let report = tested(&format!("{name}.wasm"), "{}").await;
        assert!(
            names(&report).contains(&"save-restore"),
            "{name} keeps its memory"
        );
    }
    // `peers` compares sibling series with each other, so its series share state.
    let (good, report) = output(&["test", "--series-share"], "peers.wasm")
        .await
        .unwrap();
    assert!(good, "{report}");
    let report = tested("zscore.wasm", r#"{"spike": 3}"#).await;
    assert_eq!(
        names(&report).join(" "),
        "opens wrong-settings default-settings same-twice scores-or-not frame-ends phases gaps constant huge-and-tiny counters \
         few-samples held-back empty-frames series-come-and-go long-life save-restore other-series forgets"
    );
    let figures = report["figures"].as_array().unwrap();
    assert!(
        figures
            .iter()
            .any(|figure| figure["name"] == "a sample, 4096 a call" && figure["unit"] == "ns")
    );
}

#[tokio::test]
async fn the_actions_that_come_with_the_host_pass_the_conformance_suite() {
    let patch = r#"{"patch": {"target": {"kind": "Ingress", "name": "web"}, "patch": {"limit": "{rate}"}}, "requests_per_second": 5}"#;
    for (file, parameters) in [
        ("alarm.wasm", "{}"),
        ("check-logs.wasm", "{}"),
        ("investigate.wasm", r#"{"queries": ["up"]}"#),
        ("no-action.wasm", "{}"),
        ("rate-limit.wasm", patch),
        ("restart-service.wasm", "{}"),
        ("scale-down.wasm", "{}"),
        ("scale-up.wasm", "{}"),
    ] {
        let report = tested(file, parameters).await;
        let asks = report["notes"].as_array().unwrap().is_empty();
        assert_eq!(
            asks,
            file != "no-action.wasm",
            "{file}: {}",
            report["notes"]
        );
    }
    assert_eq!(
        names(&tested("scale-up.wasm", "{}").await).join(" "),
        "opens wrong-settings same-twice every-outcome odd-answers odd-incidents declared-needs last-words"
    );
}

#[tokio::test]
async fn a_plugin_that_does_not_open_with_the_settings_that_it_is_tried_with_is_not_tried_further()
{
    let (good, text) = output(&["test", "--settings", r#"{"window": 1}"#], "zscore.wasm")
        .await
        .unwrap();
    assert!(!good);
    let text = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @r#"
    FAILED  opens               it opens with the settings that it is tried with
            found:  `window` is 1: give 2 to 10000
            where:  opening it with {"window":1}
            remedy: these settings should do: give others with --settings, or accept them
    note: nothing else was tried: it does not open
    1 of 1 checks failed
    "#);
}

#[tokio::test]
async fn a_detector_and_an_action_are_told_in_readable_form() {
    let (good, text) = output(&["inspect"], "zscore.wasm").await.unwrap();
    assert!(good, "{text}");
    for line in [
        "zscore 0.1.0 detector\n",
        "\nexports   anomalyzer:plugin/detector@0.1.0",
        "\nhistory   15 min of the past",
        "\n  window: integer 2 to 10000, default 60\n      Number of samples for the mean",
        "\n  spike: number, default 1.5\n",
        "\nusable    yes\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
    let (good, text) = output(&["inspect"], "scale-up.wasm").await.unwrap();
    assert!(good, "{text}");
    assert!(
        text.contains("\nneeds     scale of Deployment, scale of StatefulSet, scale of Process\n"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_told_of_a_plugin_is_there_as_json_too() {
    let (_, text) = output(&["inspect", "--output", "json"], "scale-up.wasm")
        .await
        .unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["usable"], true);
    assert_eq!(
        (told["name"].as_str(), told["kind"].as_str()),
        (Some("scale-up"), Some("action"))
    );
    assert_eq!(told["exports"][0], "anomalyzer:plugin/action@0.1.0");
    assert_eq!(told["needs"][0]["operation"], "scale");
    assert!(told["size"].as_u64().unwrap() > 0 && told["digest"].as_str().unwrap().len() == 64);
}
