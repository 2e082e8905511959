//! Width of comments.

use anyhow::Result;

use super::tree::Tree;
use super::{COMMENTED, Report, Violation};

/// Maximum width of a comment line in columns. `cargo fmt` keeps code to it, and leaves comments.
const MAX_COLUMNS: usize = 100;

pub fn check(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&COMMENTED)?;
    let mut violations = Vec::new();
    for file in &files {
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS && line.trim_start().starts_with("//") {
                violations.push(Violation::new(
                    file.place(number),
                    format!("a comment of {columns} columns"),
                ));
            }
        }
    }
    Ok(Report {
        summary: format!("{} files, {MAX_COLUMNS} columns", files.len()),
        violations,
        remedy: "wrap the comment at 100 columns",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    #[test]
    fn a_wide_comment_is_found_and_wide_code_is_not() {
        let fixture = Fixture::new(&[]);
        for folder in COMMENTED {
            fixture.write(&format!("{folder}/src/lib.rs"), "//! Short.\n");
        }
        let fits = format!(
            "    /// {}\nlet x = \"// {}\";\n",
            "é".repeat(92),
            "x".repeat(100)
        );
        fixture.write("host/src/lib.rs", &fits);
        assert_eq!(check(&fixture.tree()).unwrap().violations, []);
        fixture.write("host/src/lib.rs", &format!("\n// {}\n", "x".repeat(98)));
        assert_eq!(
            check(&fixture.tree()).unwrap().violations,
            [Violation::new(
                "host/src/lib.rs:2",
                "a comment of 101 columns"
            )]
        );
    }
}
