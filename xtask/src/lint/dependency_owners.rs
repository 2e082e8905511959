//! The crates that may depend on a large or dangerous library.
//!
//! Cargo then enforces the promise: only `anomalyzer-plugin-host` can run WebAssembly, because no
//! other crate can name wasmtime. `deny.toml` repeats the table as `wrappers`.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::metadata::Metadata;
use super::tree::Tree;
use super::{Report, Violation};

/// File that repeats the table for cargo-deny.
const DENY: &str = "deny.toml";

struct Rule {
    dependency: &'static str,
    /// Packages that must depend on it.
    owners: &'static [&'static str],
    /// Packages that may depend on it too.
    also_allowed: &'static [&'static str],
}

const fn only(dependency: &'static str, owners: &'static [&'static str]) -> Rule {
    Rule {
        dependency,
        owners,
        also_allowed: &[],
    }
}

const PLUGIN_HOST: &[&str] = &["anomalyzer-plugin-host"];
const KUBERNETES: &[&str] = &["anomalyzer-operator-kubernetes", "anomalyzer-testbed"];

const RULES: [Rule; 12] = [
    only("wasmtime", PLUGIN_HOST),
    only("wasmparser", PLUGIN_HOST),
    Rule {
        dependency: "wit-component",
        owners: PLUGIN_HOST,
        // Both make components of guests' modules.
        also_allowed: &["xtask", "anomalyzer-test-support"],
    },
    only("minisign", &["anomalyzer-plugin-store"]),
    only("rdkafka", &["anomalyzer-bus-kafka"]),
    only("kube", KUBERNETES),
    only("k8s-openapi", KUBERNETES),
    only("cel", &["anomalyzer-policy"]),
    only(
        "axum",
        &["anomalyzer-api", "anomalyzer-demo", "anomalyzer-testbed"],
    ),
    only("plotters", &["anomalyzer-plot"]),
    Rule {
        dependency: "sqlx",
        owners: &[
            "anomalyzer-bus-sqlite",
            "anomalyzer-detect",
            "anomalyzer-history",
        ],
        // It edits the files of a service that it attacks.
        also_allowed: &["anomalyzer-attack"],
    },
    Rule {
        dependency: "toml",
        owners: &["anomalyzer-service"],
        // xtask reads the clippy.toml files.
        also_allowed: &["xtask", "anomalyzer"],
    },
];

pub fn check(tree: &Tree) -> Result<Report> {
    let mut report = report(&Metadata::read(tree)?);
    let deny = toml::from_str(&tree.read(DENY)?).with_context(|| format!("{DENY} is not valid"))?;
    report.violations.extend(missing_wrappers(&deny));
    Ok(report)
}

/// Returns a violation for each rule that `deny.toml` does not repeat.
fn missing_wrappers(deny: &Table) -> Vec<Violation> {
    let entries = deny.get("bans").and_then(|bans| bans.get("deny"));
    let entries = entries
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut violations = Vec::new();
    for rule in &RULES {
        let wrappers: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.get("crate").and_then(Value::as_str) == Some(rule.dependency))
            .filter_map(|entry| entry.get("wrappers")?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let allowed = rule.owners.iter().chain(rule.also_allowed);
        let missing: Vec<&str> = allowed
            .copied()
            .filter(|package| !wrappers.contains(package))
            .collect();
        if !missing.is_empty() {
            violations.push(Violation::new(
                DENY,
                format!(
                    "the wrappers of {} lack {}",
                    rule.dependency,
                    missing.join(", ")
                ),
            ));
        }
    }
    violations
}

fn report(metadata: &Metadata) -> Report {
    let mut violations = Vec::new();
    for rule in &RULES {
        let dependency = rule.dependency;
        for package in &metadata.packages {
            let name = package.name.as_str();
            if package.depends_on(dependency)
                && !rule.owners.contains(&name)
                && !rule.also_allowed.contains(&name)
            {
                violations.push(Violation::new(
                    name,
                    format!(
                        "depends on {dependency}, which only {} may",
                        rule.owners.join(", ")
                    ),
                ));
            }
        }
        for owner in rule.owners {
            match metadata.package(owner) {
                None => violations.push(Violation::new(*owner, "the package is missing")),
                Some(package) if !package.depends_on(dependency) => {
                    violations.push(Violation::new(
                        *owner,
                        format!("owns {dependency}, and does not depend on it"),
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Report {
        summary: format!(
            "{} dependencies in {} packages",
            RULES.len(),
            metadata.packages.len()
        ),
        violations,
        remedy: "call the owner of the dependency instead; if ownership really moves, change the \
                 table in xtask/src/lint/dependency_owners.rs and the wrappers in deny.toml",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::metadata::fixture::packages;

    const GOOD: [(&str, &[&str]); 15] = [
        (
            "anomalyzer-plugin-host",
            &["wasmtime", "wasmparser", "wit-component"],
        ),
        ("anomalyzer-plugin-store", &["minisign"]),
        ("anomalyzer-bus-kafka", &["rdkafka"]),
        ("anomalyzer-operator-kubernetes", &["kube", "k8s-openapi"]),
        ("anomalyzer-testbed", &["kube", "k8s-openapi", "axum"]),
        ("anomalyzer-policy", &["cel"]),
        ("anomalyzer-api", &["axum"]),
        ("anomalyzer-demo", &["axum"]),
        ("anomalyzer-plot", &["plotters"]),
        ("anomalyzer-bus-sqlite", &["sqlx"]),
        ("anomalyzer-detect", &["sqlx"]),
        ("anomalyzer-history", &["sqlx"]),
        ("anomalyzer-service", &["toml"]),
        ("xtask", &["toml", "wit-component"]),
        ("anomalyzer", &["serde"]),
    ];

    #[track_caller]
    fn check(planted: &[(&str, &[&str])], expected: &[(&str, &str)]) {
        let mut all = GOOD.to_vec();
        for (name, dependencies) in planted {
            all.retain(|(other, _)| other != name);
            all.push((name, dependencies));
        }
        let expected: Vec<Violation> = expected
            .iter()
            .map(|(place, problem)| Violation::new(*place, *problem))
            .collect();
        assert_eq!(report(&packages(&all)).violations, expected);
    }

    #[test]
    fn owners_pass_and_development_dependencies_do_not_count() {
        check(&[], &[]);
    }

    #[test]
    fn a_dependency_of_another_crate_is_found() {
        check(
            &[("anomalyzer-collect", &["wasmtime"])],
            &[(
                "anomalyzer-collect",
                "depends on wasmtime, which only anomalyzer-plugin-host may",
            )],
        );
    }

    #[test]
    fn an_owner_without_its_dependency_is_found() {
        check(
            &[("anomalyzer-policy", &[])],
            &[("anomalyzer-policy", "owns cel, and does not depend on it")],
        );
    }

    #[test]
    fn a_missing_owner_is_found() {
        let without = packages(&GOOD[1..]);
        let missing = report(&without).violations;
        assert!(
            missing.contains(&Violation::new(
                "anomalyzer-plugin-host",
                "the package is missing"
            )),
            "{missing:?}"
        );
    }

    #[test]
    fn deny_toml_repeats_the_table() {
        let deny = include_str!("../../../deny.toml");
        assert_eq!(missing_wrappers(&toml::from_str(deny).unwrap()), []);
        let without_owner = deny.replace("\"anomalyzer-policy\"", "\"anomalyzer-collect\"");
        assert_eq!(
            missing_wrappers(&toml::from_str(&without_owner).unwrap()),
            [Violation::new(
                DENY,
                "the wrappers of cel lack anomalyzer-policy"
            )]
        );
        let without_entry = deny.replace("crate = \"rdkafka\"", "crate = \"kafka\"");
        assert_eq!(
            missing_wrappers(&toml::from_str(&without_entry).unwrap()),
            [Violation::new(
                DENY,
                "the wrappers of rdkafka lack anomalyzer-bus-kafka"
            )]
        );
    }
}
