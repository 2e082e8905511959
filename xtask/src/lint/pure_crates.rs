//! Crates that must not reach certain libraries, directly or through other crates.

use anyhow::Result;

use super::metadata::Metadata;
use super::tree::Tree;
use super::{Report, Violation};
use crate::{process, workspace};

struct Rule {
    packages: &'static [&'static str],
    /// Value for `cargo tree --edges`.
    edges: &'static str,
    banned: &'static [&'static str],
    reason: &'static str,
}

const PURE: &[&str] = &[
    "anomalyzer-domain",
    "anomalyzer-wire",
    "anomalyzer-policy",
    "anomalyzer-world",
    "anomalyzer-explain",
];

const RULES: [Rule; 2] = [
    Rule {
        packages: PURE,
        edges: "normal",
        banned: &["tokio", "reqwest", "sqlx", "hyper"],
        reason: "promises to do no I/O",
    },
    Rule {
        packages: PURE,
        edges: "normal,build,dev",
        banned: &["wasmtime", "kube", "rdkafka"],
        reason: "must be quick to test by itself",
    },
];

pub fn check(tree: &Tree) -> Result<Report> {
    let mut violations = missing(&Metadata::read(tree)?);
    if violations.is_empty() {
        for rule in &RULES {
            for package in rule.packages {
                violations.extend(banned(rule, package, &list(tree, rule, package)?));
            }
        }
    }
    Ok(Report {
        summary: format!(
            "{} stay without {}",
            PURE.join(", "),
            RULES[0].banned.join(", ")
        ),
        violations,
        remedy: "`cargo tree -p PACKAGE -i DEPENDENCY` shows the way; move the I/O to a crate of a \
                 higher layer, or switch off a feature",
    })
}

/// Returns a violation for each package of a rule that the workspace lacks.
fn missing(metadata: &Metadata) -> Vec<Violation> {
    let missing = PURE.iter().filter(|name| metadata.package(name).is_none());
    missing
        .map(|name| Violation::new(*name, "the package is missing"))
        .collect()
}

/// Lists the packages that `package` reaches, one a line.
fn list(tree: &Tree, rule: &Rule, package: &str) -> Result<String> {
    let mut cargo = workspace::cargo();
    cargo
        .current_dir(tree.root())
        .args(["tree", "--locked", "--package", package])
        .args(["--edges", rule.edges, "--prefix", "none"]);
    process::output(&mut cargo)
}

/// Returns a violation for each banned package in the output of `cargo tree`.
fn banned(rule: &Rule, package: &str, listed: &str) -> Vec<Violation> {
    let reached = |name: &&&str| {
        listed
            .lines()
            .any(|line| line.split_whitespace().next() == Some(**name))
    };
    let banned = rule.banned.iter().filter(reached);
    banned
        .map(|name| Violation::new(package, format!("{}, and reaches {name}", rule.reason)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::metadata::fixture::packages;

    #[test]
    fn a_banned_package_in_the_tree_is_found() {
        let listed = "anomalyzer-policy v0.1.0 (/w)\ncel v0.15.0\ntokio v1.48.0\nmio v1.0.0\n";
        assert_eq!(
            banned(&RULES[0], "anomalyzer-policy", listed),
            [Violation::new(
                "anomalyzer-policy",
                "promises to do no I/O, and reaches tokio"
            )]
        );
    }

    #[test]
    fn packages_with_longer_names_pass() {
        let listed = "anomalyzer-wire v0.1.0 (/w)\nprost v0.14.1\nhyperloglog v1.0.0\n";
        assert_eq!(banned(&RULES[0], "anomalyzer-wire", listed), []);
    }

    #[test]
    fn a_missing_crate_is_found() {
        let two: [(&str, &[&str]); 2] = [("anomalyzer-domain", &[]), ("anomalyzer-wire", &[])];
        let expected = ["policy", "world", "explain"]
            .map(|name| Violation::new(format!("anomalyzer-{name}"), "the package is missing"));
        assert_eq!(missing(&packages(&two)), expected);
    }
}
