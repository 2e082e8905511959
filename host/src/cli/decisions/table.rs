//! Formats a decision or an event as one line of a table.

use anomalyzer_domain::{Decision, Target, rfc3339};
use anomalyzer_history::RecordedEvent;

/// Header of the table.
pub(super) const HEAD: &str = "DECIDED               ID                    STATE      OUTCOME       SOLUTION         \
                               TARGET                            WHY";

/// Maximum number of characters of the explanation in a row.
const WHY: usize = 80;

/// Formats a decision as a row of the table.
pub(super) fn row(decision: &Decision) -> String {
    let seconds: String = rfc3339(decision.decided_at).chars().take(19).collect();
    let outcome = decision
        .verification
        .as_ref()
        .map_or("-", |verification| verification.outcome.as_str());
    format!(
        "{seconds}Z  {:<20}  {:<9}  {outcome:<12}  {:<15}  {:<32}  {}",
        printable(decision.id.as_str()),
        decision.state().as_str(),
        printable(&decision.solution),
        printable(
            &decision
                .target
                .as_ref()
                .map_or("-".to_owned(), Target::to_string)
        ),
        one_line(&decision.explanation, WHY),
    )
}

/// Formats an event: its time, its kind, and the decision as a row.
pub(super) fn event(event: &RecordedEvent) -> String {
    format!(
        "{}  {:<17}  {}",
        rfc3339(event.at),
        event.kind,
        row(&event.decision)
    )
}

/// Replaces characters that could move the cursor or change the terminal. Texts come from logs,
/// labels and models and can't be trusted.
pub(super) fn printable(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        // Bidirectional controls can make a text read as another one.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

fn one_line(text: &str, most: usize) -> String {
    let text = printable(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_reaches_the_terminal_as_a_command() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}b\r\nc\u{202e}"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}\nc\u{fffd}"
        );
    }

    #[test]
    fn a_long_text_is_cut_to_one_line() {
        assert_eq!(one_line("a\n b", 10), "a b");
        assert_eq!(one_line("äöüäöü", 4), "äöü…");
    }
}
