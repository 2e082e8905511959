//! Names that say nothing to a reader who does not know the code yet.

use anyhow::{Result, ensure};

use super::source::{SourceFile, has_word, scan};
use super::tree::Tree;
use super::{PRODUCT, Report, Violation};

const CONSTANTS: [&str; 9] = [
    "PATIENCE", "LOOK", "MOST", "KEPT", "LATE", "OLD", "NEW", "MORE", "GONE",
];

/// Names of files, without `.rs`.
const FILES: [&str; 20] = [
    "desk",
    "crew",
    "hands",
    "kept",
    "room",
    "shelf",
    "doors",
    "noted",
    "fresh",
    "fits",
    "place",
    "recalled",
    "keeping",
    "overlooked",
    "not_now",
    "jumps",
    "usual",
    "own",
    "seen",
    "again",
];

pub fn check_constants(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&PRODUCT)?;
    let violations = scan(&files, SourceFile::code, |line| {
        let banned = CONSTANTS
            .iter()
            .find(|name| has_word(line, &format!("const {name}")));
        banned.map(|name| format!("the constant is named {name}"))
    });
    Ok(Report {
        summary: format!("{} files", files.len()),
        violations,
        remedy: "name the bound: ROLLOUT_TIMEOUT, MAX_SILENCES, RESCAN_INTERVAL",
    })
}

pub fn check_files(tree: &Tree) -> Result<Report> {
    // Build scripts and stray files are found too, since they may be anywhere.
    let files = tree.all_sources()?;
    ensure!(!files.is_empty(), "there is no Rust file");
    let violations = files
        .iter()
        .filter(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            FILES.iter().any(|banned| name == format!("{banned}.rs"))
        })
        .map(|file| Violation::new(&*file.path, "the name says nothing about the content"))
        .collect();
    Ok(Report {
        summary: format!("{} files", files.len()),
        violations,
        remedy: "name the file for its job, in the field's terms: scheduler.rs, backend.rs, retry.rs",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    fn fixture(text: &str) -> Fixture {
        Fixture::new(&[
            ("crates/a/src/lib.rs", text),
            ("host/src/main.rs", ""),
            ("plugins/sdk/src/lib.rs", ""),
        ])
    }

    #[test]
    fn a_banned_constant_is_found() {
        for name in [
            "PATIENCE", "LOOK", "MOST", "KEPT", "LATE", "OLD", "NEW", "MORE", "GONE",
        ] {
            let fixture = fixture(&format!("fn f() {{}}\npub const {name}: u32 = 1;\n"));
            assert_eq!(
                check_constants(&fixture.tree()).unwrap().violations,
                [Violation::new(
                    "crates/a/src/lib.rs:2",
                    format!("the constant is named {name}")
                )]
            );
        }
    }

    #[test]
    fn longer_names_and_comments_pass() {
        let fixture = fixture("// const OLD\nconst LATEST: u32 = 1;\nconst NEW_NAME: u32 = 1;\n");
        assert_eq!(check_constants(&fixture.tree()).unwrap().violations, []);
    }

    #[test]
    fn a_banned_file_name_is_found() {
        let fixture = fixture("");
        fixture.write("crates/a/src/owner.rs", "");
        assert_eq!(check_files(&fixture.tree()).unwrap().violations, []);
        fixture.write("crates/a/src/own.rs", "");
        assert_eq!(
            check_files(&fixture.tree()).unwrap().violations,
            [Violation::new(
                "crates/a/src/own.rs",
                "the name says nothing about the content"
            )]
        );
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let fixture = Fixture::new(&[("crates/a/src/lib.rs", "")]);
        assert!(check_constants(&fixture.tree()).is_err());
    }
}
