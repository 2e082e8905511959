//! Files that hold a contract with plugins and databases in use: they stay as they are. A migration
//! may be added, because it changes no other.

use std::process::Command;

use anyhow::Result;

use super::tree::Tree;
use super::{Report, Violation};
use crate::process;

/// Commit with the contract in use.
const BASE: &str = "ada0766";
const FOLDERS: [&str; 2] = ["wit", "migrations"];

pub fn check(tree: &Tree) -> Result<Report> {
    check_since(tree, BASE)
}

fn check_since(tree: &Tree, commit: &str) -> Result<Report> {
    let remedy = "undo the change; to change the contract on purpose, move BASE in \
                  xtask/src/lint/frozen.rs in a commit that says why";
    let commit_of = format!("{commit}^{{commit}}");
    if git(tree, &["rev-parse", "--verify", "--quiet", &commit_of]).is_err() {
        return Ok(Report {
            summary: format!("skipped: commit {commit} is not in this clone, as in a shallow one"),
            violations: Vec::new(),
            remedy,
        });
    }
    let mut violations = Vec::new();
    for folder in FOLDERS {
        if !tree.contains(folder) {
            violations.push(Violation::new(folder, "the folder is missing"));
        }
    }
    let diff = ["diff", "--name-status", commit, "--"];
    let changed = git(tree, &[&diff[..], &FOLDERS].concat())?;
    let untracked = ["ls-files", "--others", "--exclude-standard", "--"];
    let added = git(tree, &[&untracked[..], &FOLDERS].concat())?;
    for line in changed.lines() {
        let (status, path) = line.split_once('\t').unwrap_or(("?", line));
        if status == "A" && is_migration(path) {
            continue;
        }
        violations.push(Violation::new(path, format!("differs ({status})")));
    }
    violations.extend(
        added
            .lines()
            .filter(|path| !is_migration(path))
            .map(|path| Violation::new(path, "differs (A)")),
    );
    Ok(Report {
        summary: format!(
            "{} are as in {commit}, but for added migrations",
            FOLDERS.join(" and ")
        ),
        violations,
        remedy,
    })
}

/// Returns true for a file that a database applies after the earlier ones.
fn is_migration(path: &str) -> bool {
    path.starts_with("migrations/") && path.ends_with(".sql")
}

fn git(tree: &Tree, arguments: &[&str]) -> Result<String> {
    process::output(Command::new("git").current_dir(tree.root()).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    fn repository() -> Fixture {
        let fixture = Fixture::new(&[
            ("wit/plugin.wit", "package a;\n"),
            ("migrations/1.sql", "select 1;\n"),
            ("src/lib.rs", "\n"),
        ]);
        commit_all(&fixture.tree());
        fixture
    }

    fn commit_all(tree: &Tree) {
        git(tree, &["init", "--quiet"]).unwrap();
        git(tree, &["add", "--all"]).unwrap();
        let author = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let commit = ["commit", "--quiet", "--no-gpg-sign", "--message", "Begin"];
        git(tree, &[&author[..], &commit].concat()).unwrap();
    }

    #[track_caller]
    fn planted(path: &str, expected: &[(&str, &str)]) {
        let fixture = repository();
        fixture.write(path, "changed\n");
        let expected: Vec<Violation> = expected
            .iter()
            .map(|(place, problem)| Violation::new(*place, *problem))
            .collect();
        let report = check_since(&fixture.tree(), "HEAD").unwrap();
        assert_eq!(report.violations, expected);
    }

    #[test]
    fn changes_of_the_contract_are_found() {
        planted("src/lib.rs", &[]);
        planted("wit/plugin.wit", &[("wit/plugin.wit", "differs (M)")]);
        planted("wit/other.wit", &[("wit/other.wit", "differs (A)")]);
        planted("migrations/1.sql", &[("migrations/1.sql", "differs (M)")]);
        planted("migrations/2.sql", &[]);
    }

    #[test]
    fn a_missing_folder_is_found() {
        let fixture = Fixture::new(&[("wit/plugin.wit", "package a;\n")]);
        let tree = fixture.tree();
        commit_all(&tree);
        let report = check_since(&tree, "HEAD").unwrap();
        assert_eq!(
            report.violations,
            [Violation::new("migrations", "the folder is missing")]
        );
    }

    #[test]
    fn a_shallow_clone_skips_the_check_and_says_so() {
        let fixture = repository();
        fixture.write("wit/plugin.wit", "changed\n");
        let report = check_since(&fixture.tree(), "0123456789").unwrap();
        assert!(report.violations.is_empty(), "{report:?}");
        assert!(
            report
                .summary
                .starts_with("skipped: commit 0123456789 is not in this clone"),
            "{report:?}"
        );
    }
}
