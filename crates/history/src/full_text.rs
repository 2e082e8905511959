//! Full-text search over decisions.

use std::fmt::Write;

use anomalyzer_domain::Decision;

/// Returns the searchable words of a decision: its ids, its subject, its explanation, its evidence,
/// and all reasons given.
pub(super) fn words(decision: &Decision) -> String {
    let mut words = format!(
        "{} {} {}",
        decision.id, decision.solution, decision.explanation
    );
    let mut add = |text: &str| {
        words.push('\n');
        words.push_str(text);
    };
    if let Some(incident) = &decision.incident {
        add(incident.as_str());
    }
    if let Some(target) = &decision.target {
        add(&target.to_string());
    }
    if let Some(anomaly) = &decision.anomaly {
        add(&anomaly.signal);
    }
    for evidence in &decision.evidence {
        add(&evidence.text);
    }
    for guard in decision
        .operations
        .iter()
        .map(|operation| &operation.guard)
        .chain([&decision.guard])
        .flatten()
    {
        add(&guard.rule);
        add(&guard.reason);
    }
    for text in [&decision.summary, &decision.analyst.why_rules]
        .into_iter()
        .flatten()
    {
        add(text);
    }
    if let Some(verification) = &decision.verification {
        add(&verification.reason);
    }
    add(&decision.provenance.by);
    words
}

/// Builds an FTS5 query for decisions that contain all these terms. Each term is quoted, so that no
/// part of it is taken for syntax. NUL characters are replaced, because they would end the query
/// inside a quote.
pub(super) fn query(text: &str) -> String {
    let text = text.replace('\0', " ");
    text.split_whitespace()
        .fold(String::new(), |mut query, term| {
            let _ = write!(query, "\"{}\" ", term.replace('"', "\"\""));
            query
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_the_query_language_are_searched_for_as_words() {
        assert_eq!(query("a OR \"b\" NEAR(c"), r#""a" "OR" """b""" "NEAR(c" "#);
        assert_eq!(query("a\0b"), r#""a" "b" "#);
        assert_eq!(query(" \t"), "");
    }
}
