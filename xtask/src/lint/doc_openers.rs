//! First words of doc blocks. A block that opens with "What", "Of" or "The same" is a fragment, or
//! uses a clause as a noun. The share of these blocks is bounded.

use anyhow::Result;

use super::source::{SourceFile, is_word};
use super::tree::Tree;
use super::{COMMENTED, Report, Violation};

/// First words that are flagged. A word counts as a whole: "Wholesale" does not open with "Who".
const OPENERS: [&str; 19] = [
    "What", "Whoever", "Who", "Whatever", "Whether", "Whose", "Where", "How", "Why", "Of", "By",
    "With", "As", "That", "Those", "So", "The same", "One that", "Such",
];

/// Maximum share of flagged blocks, in thousandths.
const MAX_PER_MILLE: usize = 30;

/// Maximum length in characters of the quotation from a block.
const QUOTED: usize = 100;

pub fn check(tree: &Tree) -> Result<Report> {
    check_share(&tree.sources(&COMMENTED)?)
}

/// Returns a violation for each flagged block, whether or not the share is too high.
pub fn offenders(tree: &Tree) -> Result<Vec<Violation>> {
    let files = tree.sources(&COMMENTED)?;
    Ok(files.iter().flat_map(flagged).collect())
}

fn check_share(files: &[SourceFile]) -> Result<Report> {
    let total: usize = files.iter().map(|file| blocks(&file.text).len()).sum();
    anyhow::ensure!(total > 0, "there are no doc blocks");
    let mut violations: Vec<Violation> = files.iter().flat_map(flagged).collect();
    let per_mille = violations.len() * 1000 / total;
    let is_too_many = violations.len() * 1000 > MAX_PER_MILLE * total;
    let summary = format!(
        "{} of {total} blocks, {}.{} % (limit {} %)",
        violations.len(),
        per_mille / 10,
        per_mille % 10,
        MAX_PER_MILLE / 10
    );
    if !is_too_many {
        violations.clear();
    }
    Ok(Report {
        summary,
        violations,
        remedy: "open with a noun (a type, a field) or a verb in the third person (a function)",
    })
}

fn flagged(file: &SourceFile) -> Vec<Violation> {
    let blocks = blocks(&file.text).into_iter();
    blocks
        .filter(|block| is_flagged(&block.text))
        .map(|block| {
            let quoted: String = block.text.chars().take(QUOTED).collect();
            Violation::new(file.place(block.line), quoted)
        })
        .collect()
}

fn is_flagged(text: &str) -> bool {
    OPENERS.iter().any(|opener| {
        text.strip_prefix(opener)
            .is_some_and(|rest| !rest.starts_with(is_word))
    })
}

/// A run of `///` or `//!` lines.
struct Block {
    /// First line, counted from 0.
    line: usize,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    // The empty line at the end closes a block there.
    for (number, line) in text.split('\n').chain([""]).enumerate() {
        let line = line.trim();
        let comment = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"));
        if let Some(comment) = comment {
            let (_, lines) = open.get_or_insert((number, Vec::new()));
            lines.push(comment.trim());
        } else if let Some((line, lines)) = open.take() {
            let text = lines.join(" ").trim().to_owned();
            blocks.push(Block { line, text });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = flagged(&SourceFile::new("a.rs", text));
        let expected: Vec<Violation> = expected
            .iter()
            .map(|(place, text)| Violation::new(*place, *text))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn fragments_and_free_relatives_are_flagged() {
        check(
            "//! What is late\n//! is dropped.\n\n    /// The same, of these.\n///  So.\n",
            &[
                ("a.rs:1", "What is late is dropped."),
                ("a.rs:4", "The same, of these. So."),
            ],
        );
        check("///\n/// Whose\n", &[("a.rs:1", "Whose")]);
    }

    #[test]
    fn longer_words_and_later_sentences_pass() {
        check(
            "/// Wholesale.\n\n/// Offers. What is late is dropped.\n\n// What\n\n/// As_is\n",
            &[],
        );
    }

    #[test]
    fn the_share_is_bounded() {
        let good = "/// Returns a snapshot.\nfn f() {}\n".repeat(97);
        let bad = |count| SourceFile::new("b.rs", "/// Looks.\n\n/// Of these.\n\n".repeat(count));
        let files = |count| [SourceFile::new("a.rs", good.as_str()), bad(count)];
        let report = check_share(&files(3)).unwrap();
        assert_eq!(report.summary, "3 of 103 blocks, 2.9 % (limit 3 %)");
        assert!(report.violations.is_empty(), "{report:?}");
        let report = check_share(&files(4)).unwrap();
        assert_eq!(report.violations.len(), 4, "{report:?}");
        assert_eq!(report.violations[0].place, "b.rs:3");
        assert!(check_share(&[]).is_err());
    }
}
