//! Size of the crates: a crate that grows too large holds several guarantees.

use anyhow::Result;

use super::tree::Tree;
use super::{CRATES, Report, Violation};

/// Maximum number of lines in the `src` folder of a crate.
const MAX_LINES: usize = 8_000;

pub fn check(tree: &Tree) -> Result<Report> {
    check_up_to(tree, MAX_LINES)
}

fn check_up_to(tree: &Tree, limit: usize) -> Result<Report> {
    let (mut violations, mut largest) = (Vec::new(), (0, String::new()));
    for name in tree.folders(CRATES)? {
        let folder = format!("{CRATES}/{name}/src");
        let files = tree.sources(&[&folder])?;
        let lines: usize = files.iter().map(|file| file.text.lines().count()).sum();
        if lines > limit {
            violations.push(Violation::new(
                folder,
                format!("{lines} lines, and at most {limit} are allowed"),
            ));
        }
        largest = largest.max((lines, name));
    }
    Ok(Report {
        summary: format!("{} is the largest with {} lines", largest.1, largest.0),
        violations,
        remedy: "split the crate where its modules use the fewest of each other's items",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    #[test]
    fn a_crate_above_the_limit_is_found() {
        let fixture = Fixture::new(&[
            ("crates/a/src/lib.rs", "1\n2\n"),
            ("crates/a/src/b/c.rs", "3\n"),
            ("crates/a/tests/it.rs", "4\n5\n"),
            ("crates/d/src/lib.rs", "1\n"),
        ]);
        assert!(
            check_up_to(&fixture.tree(), 3)
                .unwrap()
                .violations
                .is_empty()
        );
        assert_eq!(
            check_up_to(&fixture.tree(), 2).unwrap().violations,
            [Violation::new(
                "crates/a/src",
                "3 lines, and at most 2 are allowed"
            )]
        );
    }

    #[test]
    fn a_crate_without_sources_is_an_error() {
        let fixture = Fixture::new(&[("crates/a/Cargo.toml", "")]);
        assert!(check(&fixture.tree()).is_err());
        assert!(check(&Fixture::new(&[]).tree()).is_err());
    }
}
