//! Acceptance checks on the shape of the workspace: dependencies, layers, sizes and words.
//!
//! Each check is cheap: it reads files, or asks `cargo metadata`, `cargo tree` or `git`. None of
//! them compiles. A check reports all violations at once, each with its place, and one remedy.

mod clippy_files;
mod comment_width;
mod configuration;
mod crate_size;
mod dependency_owners;
mod doc_openers;
mod frozen;
mod import_cycles;
mod imports;
mod layers;
mod metadata;
mod names;
mod pure_crates;
mod shape;
mod source;
mod tree;

use anyhow::{Result, bail};

use crate::workspace;
use tree::Tree;

/// Folder of the library crates.
const CRATES: &str = "crates";
/// Folders with code that runs in the service or in its guests.
const PRODUCT: [&str; 3] = [CRATES, "host", "plugins"];
/// Folders with Rust code whose comments are checked.
const COMMENTED: [&str; 6] = [CRATES, "attack", "host", "plugins", "xtask", "testbed"];

/// A name for the output, and the function that checks.
type Check = (&'static str, fn(&Tree) -> Result<Report>);

/// Every check, in the order of the output.
const CHECKS: [Check; 18] = [
    ("frozen folders", frozen::check),
    ("dependency owners", dependency_owners::check),
    ("layers", layers::check),
    ("crates without I/O", pure_crates::check),
    ("configuration on top", configuration::check_config),
    ("environment variables", configuration::check_environment),
    ("crate size", crate_size::check),
    ("clippy.toml files", clippy_files::check),
    ("constant names", names::check_constants),
    ("file names", names::check_files),
    ("lock types", shape::check_poison),
    ("comment width", comment_width::check),
    ("doc openers", doc_openers::check),
    ("no Deref in remediate", shape::check_deref),
    ("state transitions", shape::check_transitions),
    ("spans", shape::check_spans),
    ("consumer loops", shape::check_consumer_loops),
    ("import cycles", import_cycles::check),
];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// `file:line`, a file, a folder or a crate.
    place: String,
    problem: String,
}

impl Violation {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// Result of a check that could run.
#[derive(Debug)]
struct Report {
    /// One line about what was checked.
    summary: String,
    violations: Vec<Violation>,
    /// Advice for all violations of this check.
    remedy: &'static str,
}

/// Runs every check and prints one line for each; lists up to `list` doc blocks that
/// [`doc_openers`] flags.
///
/// # Errors
/// Returns an error if a check fails or can't run. The output then names each violation.
pub fn run(list: usize) -> Result<()> {
    let tree = Tree::new(workspace::root());
    if list > 0 {
        for offender in doc_openers::offenders(&tree)?.iter().take(list) {
            println!("{}: {}", offender.place, offender.problem);
        }
    }
    let failed = failures(&tree);
    if !failed.is_empty() {
        bail!("{} checks failed: {}", failed.len(), failed.join(", "));
    }
    Ok(())
}

/// Runs every check and prints its result. Returns the names of the checks that fail.
fn failures(tree: &Tree) -> Vec<&'static str> {
    let failed = CHECKS
        .into_iter()
        .filter(|(name, check)| !passes(name, check(tree)));
    failed.map(|(name, _)| name).collect()
}

/// Prints the result of a check. Returns true if the check passes.
fn passes(name: &str, result: Result<Report>) -> bool {
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            println!("FAILED   {name}: {error:#}");
            return false;
        }
    };
    if report.violations.is_empty() {
        println!("ok       {name}: {}", report.summary);
        return true;
    }
    println!("FAILED   {name}: {}", report.summary);
    for Violation { place, problem } in &report.violations {
        println!("           {place}: {problem}");
    }
    println!("         remedy: {}", report.remedy);
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree::fixture::Fixture;

    #[test]
    fn no_check_passes_without_crates() {
        let failed = failures(&Fixture::new(&[]).tree());
        // An empty folder is no clone with the commit to compare with.
        let skipped = ["frozen folders"];
        let names = CHECKS.map(|(name, _)| name);
        let expected: Vec<&str> = names
            .into_iter()
            .filter(|name| !skipped.contains(name))
            .collect();
        assert_eq!(failed, expected);
    }
}
