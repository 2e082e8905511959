//! Shapes of code that the crates keep to: locks, state transitions, spans and consumer loops.

use anyhow::Result;

use super::source::{SourceFile, has_word, production_files, scan};
use super::tree::Tree;
use super::{CRATES, Report, Violation};

const REMEDIATE: &str = "crates/remediate";

/// Files that may set the state of a decision.
const LIFE_OF_A_DECISION: [&str; 3] = [
    "crates/remediate/src/life.rs",
    "crates/domain/src/decision.rs",
    // Sample values for tests, behind a feature that no release has.
    "crates/domain/src/testing.rs",
];

/// Minimum number of lines that open a span.
const MIN_SPANS: usize = 25;

/// Maximum number of lines that poll a subscription by hand.
const MAX_CONSUMER_LOOPS: usize = 3;

pub fn check_poison(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&[CRATES])?;
    Ok(Report {
        summary: format!("{} files without PoisonError", files.len()),
        violations: scan(&files, SourceFile::code, |line| {
            has_word(line, "PoisonError").then(|| "handles a poisoned lock".to_owned())
        }),
        remedy: "use the locks of parking_lot, which are never poisoned",
    })
}

pub fn check_deref(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&[REMEDIATE])?;
    Ok(Report {
        summary: format!("{} files", files.len()),
        violations: scan(&files, SourceFile::code, |line| {
            has_word(line, "Deref for").then(|| "implements Deref".to_owned())
        }),
        remedy: "name the field: Deref hides which part of the state a function uses",
    })
}

pub fn check_transitions(tree: &Tree) -> Result<Report> {
    for file in LIFE_OF_A_DECISION {
        tree.read(file)?;
    }
    let mut files = production_files(tree.sources(&[CRATES])?);
    files.retain(|file| !LIFE_OF_A_DECISION.contains(&&*file.path));
    Ok(Report {
        summary: format!("states are set in {}", LIFE_OF_A_DECISION.join(" and ")),
        violations: scan(&files, SourceFile::production_code, |line| {
            has_word(line, "transition(").then(|| "sets the state of a decision".to_owned())
        }),
        remedy: "return the outcome to crates/remediate/src/life.rs, which sets the state",
    })
}

pub fn check_spans(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&[CRATES])?;
    let spans = scan(&files, SourceFile::code, |line| {
        (line.contains("instrument") || line.contains("info_span!")).then(String::new)
    });
    let mut violations = Vec::new();
    if spans.len() < MIN_SPANS {
        violations.push(Violation::new(
            CRATES,
            format!("{} spans, and at least {MIN_SPANS} are wanted", spans.len()),
        ));
    }
    Ok(Report {
        summary: format!("{} lines with spans", spans.len()),
        violations,
        remedy: "put `#[instrument(skip_all, fields(decision.id, incident.id, plugin))]` on the \
                 steps of a decision, a diagnosis, a batch and a request",
    })
}

pub fn check_consumer_loops(tree: &Tree) -> Result<Report> {
    let files = production_files(tree.sources(&[CRATES])?);
    let loops = scan(&files, SourceFile::production_code, |line| {
        has_word(line, "subscription.next(").then(|| "polls a subscription by hand".to_owned())
    });
    let summary = format!("{} of at most {MAX_CONSUMER_LOOPS} loops", loops.len());
    Ok(Report {
        summary,
        violations: if loops.len() > MAX_CONSUMER_LOOPS {
            loops
        } else {
            Vec::new()
        },
        remedy: "run the consumer through bus::consume",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    fn fixture(remediate: &str) -> Fixture {
        Fixture::new(&[
            ("crates/remediate/src/lib.rs", remediate),
            (
                "crates/remediate/src/life.rs",
                "decision.transition(next);\n",
            ),
            (
                "crates/domain/src/decision.rs",
                "pub fn transition(&mut self) {}\n",
            ),
            ("crates/domain/src/testing.rs", ""),
        ])
    }

    #[track_caller]
    fn planted(check: fn(&Tree) -> Result<Report>, text: &str, places: &[&str]) {
        let report = check(&fixture(text).tree()).unwrap();
        let found = report.violations.iter();
        let found: Vec<&str> = found.map(|violation| violation.place.as_str()).collect();
        assert_eq!(found, places);
    }

    #[test]
    fn poisoned_locks_are_found() {
        planted(check_poison, "// PoisonError\n", &[]);
        planted(
            check_poison,
            "\nx.unwrap_or_else(PoisonError::into_inner)\n",
            &["crates/remediate/src/lib.rs:2"],
        );
    }

    #[test]
    fn deref_in_remediate_is_found() {
        planted(check_deref, "impl Display for A {}\n", &[]);
        planted(
            check_deref,
            "impl<'a> Deref for A<'a> {}\n",
            &["crates/remediate/src/lib.rs:1"],
        );
        assert!(check_deref(&Fixture::new(&[("crates/a/src/lib.rs", "")]).tree()).is_err());
    }

    #[test]
    fn a_state_set_elsewhere_is_found() {
        planted(
            check_transitions,
            "#[cfg(test)]\nmod tests {\n    fn f() { d.transition(n) }\n}\n",
            &[],
        );
        planted(
            check_transitions,
            "fn f() {\n    d.transition(n)\n}\n",
            &["crates/remediate/src/lib.rs:2"],
        );
        let moved = Fixture::new(&[("crates/remediate/src/lib.rs", "")]);
        assert!(check_transitions(&moved.tree()).is_err());
    }

    #[test]
    fn too_few_spans_are_found() {
        planted(
            check_spans,
            &"#[instrument(skip_all)]\n".repeat(MIN_SPANS),
            &[],
        );
        planted(
            check_spans,
            &"// instrument\n".repeat(MIN_SPANS),
            &["crates"],
        );
        planted(
            check_spans,
            &"info_span!(\"x\");\n".repeat(MIN_SPANS - 1),
            &["crates"],
        );
    }

    #[test]
    fn consumer_loops_by_hand_are_found() {
        let line = "    subscription.next(1).await;\n";
        planted(check_consumer_loops, &line.repeat(3), &[]);
        planted(
            check_consumer_loops,
            &line.repeat(4),
            &[1, 2, 3, 4]
                .map(|line| format!("crates/remediate/src/lib.rs:{line}"))
                .each_ref()
                .map(String::as_str),
        );
    }
}
