//! Clippy's configuration: thresholds, disallowed types, and the clock in crates without one.
//!
//! Clippy reads only the nearest `clippy.toml`. A crate with a file of its own would thereby lose
//! the settings of the root's file, so it must repeat them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::tree::Tree;
use super::{CRATES, Report, Violation};

const FILE: &str = "clippy.toml";
const MANIFEST: &str = "Cargo.toml";

/// Keys that the root's file must hold, with their values.
const THRESHOLDS: [(&str, i64); 2] = [
    ("too-many-lines-threshold", 100),
    ("too-many-arguments-threshold", 6),
];
const TYPES_KEY: &str = "disallowed-types";
const DISALLOWED_TYPES: [&str; 2] = ["std::sync::Mutex", "std::sync::RwLock"];

/// Crates that must not read the clock or the machine's time zones.
const WITHOUT_CLOCK: [&str; 3] = ["domain", "wire", "policy"];
const METHODS_KEY: &str = "disallowed-methods";
const CLOCKS: [&str; 6] = [
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "jiff::tz::TimeZone::get",
    "jiff::tz::TimeZone::system",
];

/// Lints of clippy that the workspace must switch on. Without them the keys above have no effect.
const LINTS: [&str; 4] = [
    "disallowed_methods",
    "disallowed_types",
    "too_many_arguments",
    "too_many_lines",
];

pub fn check(tree: &Tree) -> Result<Report> {
    let root = table(tree, FILE)?;
    let mut violations = root_violations(&root);
    violations.extend(lint_violations(&table(tree, MANIFEST)?));
    let mut repeated = 0;
    for name in tree.folders(CRATES)? {
        let manifest = format!("{CRATES}/{name}/{MANIFEST}");
        let inherits = ["lints", "workspace"]
            .iter()
            .try_fold(&Value::Table(table(tree, &manifest)?), |value, key| {
                value.get(key)
            })
            == Some(&Value::Boolean(true));
        if !inherits {
            violations.push(Violation::new(manifest, "lacks `[lints] workspace = true`"));
        }
        let place = format!("{CRATES}/{name}/{FILE}");
        let needs_file = WITHOUT_CLOCK.contains(&name.as_str());
        if !tree.contains(&place) {
            if needs_file {
                violations.push(Violation::new(place, "the file is missing"));
            }
            continue;
        }
        repeated += 1;
        let own = table(tree, &place)?;
        violations.extend(repeat_violations(&place, &root, &own));
        if needs_file {
            let methods = listed(&own, METHODS_KEY);
            let missing = CLOCKS.iter().filter(|clock| !methods.contains(**clock));
            violations.extend(
                missing
                    .map(|clock| Violation::new(&*place, format!("{METHODS_KEY} lacks {clock}"))),
            );
        }
    }
    for name in WITHOUT_CLOCK {
        if !tree.contains(&format!("{CRATES}/{name}")) {
            violations.push(Violation::new(
                format!("{CRATES}/{name}"),
                "the crate is missing",
            ));
        }
    }
    Ok(Report {
        summary: format!("{repeated} crates repeat the root's {FILE}"),
        violations,
        remedy: "copy the keys of the root's clippy.toml into the crate's, and add what is missing",
    })
}

fn table(tree: &Tree, path: &str) -> Result<Table> {
    toml::from_str(&tree.read(path)?).with_context(|| format!("{path} is not valid TOML"))
}

fn root_violations(root: &Table) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, expected) in THRESHOLDS {
        if root.get(key).and_then(Value::as_integer) != Some(expected) {
            violations.push(Violation::new(FILE, format!("lacks `{key} = {expected}`")));
        }
    }
    let types = listed(root, TYPES_KEY);
    let missing = DISALLOWED_TYPES
        .iter()
        .filter(|name| !types.contains(**name));
    violations
        .extend(missing.map(|name| Violation::new(FILE, format!("{TYPES_KEY} lacks {name}"))));
    violations
}

fn lint_violations(manifest: &Table) -> Vec<Violation> {
    let lints = ["workspace", "lints", "clippy"]
        .iter()
        .try_fold(&Value::Table(manifest.clone()), |value, key| value.get(key))
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let missing = LINTS
        .iter()
        .filter(|lint| !lints.get(**lint).is_some_and(is_switched_on));
    missing
        .map(|lint| Violation::new(MANIFEST, format!("[workspace.lints.clippy] lacks {lint}")))
        .collect()
}

fn is_switched_on(level: &Value) -> bool {
    let level = level.get("level").unwrap_or(level);
    matches!(level.as_str(), Some("warn" | "deny" | "forbid"))
}

/// Returns a violation for each setting of `root` that `own` lacks or changes. Lists may be longer.
fn repeat_violations(place: &str, root: &Table, own: &Table) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, value) in root {
        match (value, own.get(key)) {
            (_, None) => violations.push(Violation::new(place, format!("lacks `{key}`"))),
            (Value::Array(_), Some(_)) => {
                let repeated = listed(own, key);
                let missing = listed(root, key).into_iter();
                let missing = missing.filter(|entry| !repeated.contains(entry));
                violations.extend(
                    missing.map(|entry| Violation::new(place, format!("{key} lacks {entry}"))),
                );
            }
            (_, Some(other)) if other != value => violations.push(Violation::new(
                place,
                format!("`{key}` is {other}, and {value} in the root's file"),
            )),
            (_, Some(_)) => {}
        }
    }
    violations
}

/// Returns the entries of a list. An entry is a path, or a table with a path.
fn listed(table: &Table, key: &str) -> BTreeSet<String> {
    let entries = table.get(key).and_then(Value::as_array);
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|entry| entry.get("path").unwrap_or(entry).as_str())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    const ROOT: &str = r#"
allow-unwrap-in-tests = true
too-many-lines-threshold = 100
too-many-arguments-threshold = 6
disallowed-types = ["std::sync::Mutex", { path = "std::sync::RwLock", reason = "poison" }]
"#;
    const NO_CLOCK: &str = r#"
disallowed-methods = [
    "std::time::SystemTime::now", "std::time::Instant::now", "jiff::Timestamp::now",
    "jiff::Zoned::now", "jiff::tz::TimeZone::get", { path = "jiff::tz::TimeZone::system" },
]
"#;
    const WORKSPACE: &str = r#"
[workspace.lints.clippy]
disallowed_methods = "warn"
disallowed_types = { level = "warn", priority = 1 }
too_many_arguments = "deny"
too_many_lines = "warn"
"#;

    fn good() -> Fixture {
        let fixture = Fixture::new(&[(FILE, ROOT), (MANIFEST, WORKSPACE)]);
        for name in ["domain", "wire", "policy", "bus"] {
            let manifest = format!("crates/{name}/{MANIFEST}");
            fixture.write(&manifest, "[lints]\nworkspace = true\n");
        }
        for name in WITHOUT_CLOCK {
            fixture.write(
                &format!("crates/{name}/{FILE}"),
                &format!("{ROOT}{NO_CLOCK}"),
            );
        }
        fixture
    }

    #[track_caller]
    fn plant(path: &str, text: &str, expected: &[(&str, &str)]) {
        let fixture = good();
        fixture.write(path, text);
        let expected: Vec<Violation> = expected
            .iter()
            .map(|(place, problem)| Violation::new(*place, *problem))
            .collect();
        assert_eq!(check(&fixture.tree()).unwrap().violations, expected);
    }

    #[test]
    fn files_that_repeat_the_root_pass() {
        plant("crates/bus/clippy.toml", ROOT, &[]);
    }

    #[test]
    fn a_setting_that_is_not_repeated_is_found() {
        plant(
            "crates/bus/clippy.toml",
            "too-many-lines-threshold = 300\ntoo-many-arguments-threshold = 6\n\
             disallowed-types = [\"std::sync::Mutex\"]\n",
            &[
                ("crates/bus/clippy.toml", "lacks `allow-unwrap-in-tests`"),
                (
                    "crates/bus/clippy.toml",
                    "disallowed-types lacks std::sync::RwLock",
                ),
                (
                    "crates/bus/clippy.toml",
                    "`too-many-lines-threshold` is 300, and 100 in the root's file",
                ),
            ],
        );
    }

    #[test]
    fn an_allowed_clock_in_domain_is_found() {
        let without_zoned = format!("{ROOT}{NO_CLOCK}").replace("\"jiff::Zoned::now\", ", "");
        plant(
            "crates/domain/clippy.toml",
            &without_zoned,
            &[(
                "crates/domain/clippy.toml",
                "disallowed-methods lacks jiff::Zoned::now",
            )],
        );
    }

    #[test]
    fn lints_that_are_off_are_found() {
        plant(
            "crates/wire/Cargo.toml",
            "[package]\n",
            &[("crates/wire/Cargo.toml", "lacks `[lints] workspace = true`")],
        );
        plant(
            MANIFEST,
            &WORKSPACE.replace("too_many_lines = \"warn\"", "too_many_lines = \"allow\""),
            &[(MANIFEST, "[workspace.lints.clippy] lacks too_many_lines")],
        );
    }

    #[test]
    fn a_weaker_root_and_a_missing_crate_are_found() {
        let fixture = good();
        let weaker = ROOT.replace("lines-threshold = 100", "lines-threshold = 200");
        fixture.write(FILE, &weaker);
        let found = check(&fixture.tree()).unwrap().violations;
        assert!(
            found.contains(&Violation::new(
                FILE,
                "lacks `too-many-lines-threshold = 100`"
            )),
            "{found:?}"
        );
        let fixture = Fixture::new(&[
            (FILE, ROOT),
            (MANIFEST, WORKSPACE),
            ("crates/bus/Cargo.toml", "[lints]\nworkspace = true\n"),
        ]);
        let found = check(&fixture.tree()).unwrap().violations;
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            found[0],
            Violation::new("crates/domain", "the crate is missing")
        );
    }
}
