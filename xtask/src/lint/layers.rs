//! The layers of the crates: a crate depends only on crates of lower layers.

use anyhow::Result;

use super::metadata::Metadata;
use super::tree::Tree;
use super::{CRATES, Report, Violation};

/// Prefix of the packages in `crates/`: `crates/domain` is `anomalyzer-domain`.
const PREFIX: &str = "anomalyzer-";

/// Package of the binary.
const BINARY: &str = "anomalyzer";

/// Crates for tests only. They have no layer, and no crate may depend on them in production.
const TEST_CRATES: [&str; 1] = ["test-support"];

/// Crates of each layer, from the lowest to the highest. The binary is above all of them.
const LAYERS: [&[&str]; 9] = [
    &["domain", "regular-file"],
    &["common", "exposition", "operator", "plugin-store", "world"],
    &[
        "bus",
        "wire",
        "policy",
        "http-source",
        "plugin-host",
        "operator-kubernetes",
        "operator-process",
        "egress",
        "explain",
        "plot",
        "verification",
    ],
    &[
        "collect",
        "detect",
        "diagnose",
        "bus-sqlite",
        "bus-kafka",
        "history",
        "rca",
    ],
    &["remediate"],
    &["api", "conformance", "evaluate"],
    &["service"],
    &["demo"],
    &[],
];

pub fn check(tree: &Tree) -> Result<Report> {
    Ok(report(&Metadata::read(tree)?, &tree.folders(CRATES)?))
}

fn report(metadata: &Metadata, folders: &[String]) -> Report {
    let mut violations = Vec::new();
    for folder in folders {
        let package = format!("{PREFIX}{folder}");
        if layer(&package).is_none() && !TEST_CRATES.contains(&folder.as_str()) {
            violations.push(Violation::new(
                format!("{CRATES}/{folder}"),
                "the crate has no layer",
            ));
        }
    }
    for name in LAYERS.concat() {
        if !folders.iter().any(|folder| folder == name) {
            violations.push(Violation::new(
                format!("{CRATES}/{name}"),
                "the crate is missing",
            ));
        }
    }
    for package in &metadata.packages {
        let Some(own) = layer(&package.name) else {
            continue;
        };
        for dependency in package.dependencies() {
            let problem = match layer(dependency) {
                Some(other) if other >= own => format!(
                    "is in layer {own} and depends on {dependency} in layer {other}, which is not \
                     below"
                ),
                None if is_for_tests(dependency) => {
                    format!("depends on {dependency}, which is for tests only")
                }
                None if metadata.package(dependency).is_some() => {
                    format!("depends on {dependency}, which has no layer")
                }
                Some(_) | None => continue,
            };
            violations.push(Violation::new(package.name.as_str(), problem));
        }
    }
    Report {
        summary: format!("{} crates in {} layers", folders.len(), LAYERS.len()),
        violations,
        remedy: "move the shared items down, or hand them in from above; a new crate needs a layer \
                 in xtask/src/lint/layers.rs",
    }
}

fn is_for_tests(package: &str) -> bool {
    let name = package.strip_prefix(PREFIX);
    name.is_some_and(|name| TEST_CRATES.contains(&name))
}

fn layer(package: &str) -> Option<usize> {
    if package == BINARY {
        return Some(LAYERS.len() - 1);
    }
    let name = package.strip_prefix(PREFIX)?;
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::metadata::fixture::packages;

    #[track_caller]
    fn check(planted: &[(&str, &[&str])], folders: &[&str], expected: &[(&str, &str)]) {
        let found = report(
            &packages(planted),
            &folders
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        );
        let expected: Vec<Violation> = expected
            .iter()
            .map(|(place, problem)| Violation::new(*place, *problem))
            .collect();
        assert_eq!(found.violations, expected);
    }

    #[test]
    fn dependencies_on_lower_layers_pass() {
        check(
            &[
                ("anomalyzer-domain", &["serde"]),
                ("anomalyzer-common", &["anomalyzer-domain"]),
                (
                    "anomalyzer-bus",
                    &["anomalyzer-domain", "anomalyzer-common"],
                ),
                ("anomalyzer", &["anomalyzer-bus"]),
                ("xtask", &["anomalyzer"]),
            ],
            &LAYERS.concat(),
            &[],
        );
    }

    #[test]
    fn an_upward_or_level_dependency_is_found() {
        check(
            &[
                ("anomalyzer-policy", &["anomalyzer-remediate"]),
                ("anomalyzer-bus", &["anomalyzer-wire"]),
                ("anomalyzer-detect", &["anomalyzer-testbed"]),
                ("anomalyzer-testbed", &[]),
                ("anomalyzer-api", &["anomalyzer-test-support"]),
            ],
            &LAYERS.concat(),
            &[
                (
                    "anomalyzer-policy",
                    "is in layer 2 and depends on anomalyzer-remediate in layer 4, which is not \
                     below",
                ),
                (
                    "anomalyzer-bus",
                    "is in layer 2 and depends on anomalyzer-wire in layer 2, which is not below",
                ),
                (
                    "anomalyzer-detect",
                    "depends on anomalyzer-testbed, which has no layer",
                ),
                (
                    "anomalyzer-api",
                    "depends on anomalyzer-test-support, which is for tests only",
                ),
            ],
        );
    }

    #[test]
    fn a_crate_without_a_layer_and_a_missing_crate_are_found() {
        let mut folders = LAYERS.concat();
        folders.retain(|name| *name != "egress");
        folders.extend(["attic", "test-support"]);
        check(
            &[("anomalyzer-domain", &[])],
            &folders,
            &[
                ("crates/attic", "the crate has no layer"),
                ("crates/egress", "the crate is missing"),
            ],
        );
    }
}
