//! Tests that the configurations that come with the project are valid, and that the example
//! explains every existing key.

use std::collections::BTreeSet;
use std::path::Path;

use anomalyzer_service::config;
use anomalyzer_service::config::Config;
use toml::{Table, Value};

/// All tables, each as (path in the file, a document that ends within the table).
const TABLES: [(&str, &str); 33] = [
    ("", ""),
    ("api", "[api]"),
    ("api.tokens", "[[api.tokens]]"),
    ("kafka", "[kafka]"),
    ("kafka.topics", "[kafka.topics]"),
    ("local_bus", "[local_bus]"),
    ("collect", "[collect]"),
    ("collect.prometheus", "[collect.prometheus]"),
    ("collect.scrape", "[[collect.scrape]]"),
    ("signal", "[[signal]]"),
    ("signal.source.gauge", "[[signal]]\n[signal.source.gauge]"),
    ("signal.source.rate", "[[signal]]\n[signal.source.rate]"),
    ("signal.source.ratio", "[[signal]]\n[signal.source.ratio]"),
    (
        "signal.source.quantile",
        "[[signal]]\n[signal.source.quantile]",
    ),
    ("signal.detectors", "[[signal]]\n[[signal.detectors]]"),
    ("memory", "[memory]"),
    ("incidents", "[incidents]"),
    ("ollama", "[ollama]"),
    ("diagnose", "[diagnose]"),
    ("guard", "[guard]"),
    ("grant", "[[grant]]"),
    ("rate_limit", "[[rate_limit]]"),
    ("act", "[act]"),
    ("verify", "[verify]"),
    ("local.groups.shop", "[local.groups.shop]"),
    (
        "local.groups.shop.readiness",
        "[local.groups.shop.readiness]",
    ),
    ("kubernetes", "[kubernetes]"),
    ("notify", "[notify]"),
    ("notify.channels.*", "[notify.channels.x]"),
    ("http", "[http]"),
    ("http.credentials", "[[http.credentials]]"),
    ("plugins", "[plugins]"),
    ("plugins.limits", "[plugins.limits]"),
];

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

/// Returns the example with its commented-out tables and keys uncommented.
fn uncommented(text: &str) -> String {
    let line = |line: &str| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split(" = ").next().unwrap_or_default();
        let is_key = bare.contains(" = ")
            && key
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        if is_key || bare.starts_with('[') {
            bare.to_owned()
        } else {
            line.to_owned()
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the words in backticks after `expected` in the error about an unknown key.
fn keys_of(error: &str) -> BTreeSet<String> {
    let (_, expected) = error
        .split_once("expected")
        .unwrap_or_else(|| panic!("{error}"));
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Collects the keys of every table at `path`. `*` matches any key. An array stands for all of its
/// entries.
fn collect<'a>(value: &'a Value, path: &[&str], keys: &mut BTreeSet<&'a str>) {
    match (value, path) {
        (Value::Array(entries), _) => entries.iter().for_each(|entry| collect(entry, path, keys)),
        (Value::Table(table), []) => keys.extend(table.keys().map(String::as_str)),
        (Value::Table(table), ["*", rest @ ..]) => {
            table.values().for_each(|value| collect(value, rest, keys));
        }
        (Value::Table(table), [first, rest @ ..]) => {
            table
                .get(*first)
                .into_iter()
                .for_each(|value| collect(value, rest, keys));
        }
        _ => {}
    }
}

#[test]
fn the_configurations_that_come_with_it_are_good() {
    for (file, prometheus) in [
        ("anomalyzer.example.toml", false),
        ("deploy/compose/anomalyzer.toml", true),
    ] {
        let environment = |name: &str| {
            (prometheus && name == "PROMETHEUS_URL").then(|| "http://127.0.0.1:9090".to_owned())
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        config::load(Some(&path), &environment).map(|_| ()).unwrap();
    }
}

#[test]
fn what_the_example_has_commented_out_is_good_too() {
    config::parse(
        "anomalyzer.example.toml".as_ref(),
        &uncommented(&read("anomalyzer.example.toml")),
    )
    .map(|_| ())
    .unwrap();
}

#[test]
fn the_example_explains_every_key() {
    let text = uncommented(&read("anomalyzer.example.toml"));
    let example = Value::Table(toml::from_str::<Table>(&text).unwrap());
    let missing = |path: &str, keys: BTreeSet<String>| {
        let steps: Vec<&str> = path.split('.').filter(|step| !step.is_empty()).collect();
        let mut explained = BTreeSet::new();
        collect(&example, &steps, &mut explained);
        let missing: Vec<String> = keys
            .into_iter()
            .filter(|key| !explained.contains(key.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "anomalyzer.example.toml does not explain {missing:?} of [{path}]"
        );
    };
    for (path, document) in TABLES {
        let error = toml::from_str::<Config>(&format!("{document}\nno_such_key = 1"))
            .map(|_| ())
            .unwrap_err();
        assert!(error.message().contains("no_such_key"), "[{path}]: {error}");
        missing(path, keys_of(error.message()));
    }
    for error in [
        toml::from_str::<anomalyzer_novelty::Settings>("no_such_key = 1")
            .map(|_| ())
            .unwrap_err(),
        toml::from_str::<anomalyzer_zscore::Settings>("no_such_key = 1")
            .map(|_| ())
            .unwrap_err(),
    ] {
        missing("signal.detectors.settings", keys_of(error.message()));
    }
}
