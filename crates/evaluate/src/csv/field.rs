//! Fields as written, and their bare text.

/// Longest part of a field that a message quotes, in characters.
const MAX_QUOTED: usize = 60;

/// Spaces that programs write between the parts of numbers and times, beside the usual one.
pub(super) const SPACES: [char; 4] = ['\u{a0}', '\u{2009}', '\u{202f}', '\u{2007}'];

/// Returns a field without surrounding spaces, byte order marks and quotes.
pub(super) fn bare(field: &str) -> &str {
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let field = field.trim_matches(blank);
    let inside = field
        .strip_prefix('"')
        .and_then(|field| field.strip_suffix('"'));
    inside.map_or(field, |inside| inside.trim_matches(blank))
}

/// Quotes a field in a message: short, and without control characters.
pub(super) fn quoted(field: &str) -> String {
    let field = bare(field);
    let mut quoted = String::from("`");
    for c in field.chars().take(MAX_QUOTED) {
        match c {
            '"' | '\'' => quoted.push(c),
            c => quoted.extend(c.escape_debug()),
        }
    }
    if field.chars().nth(MAX_QUOTED).is_some() {
        quoted.push('…');
    }
    quoted + "`"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_field_is_short_and_shows_no_control_characters() {
        assert_eq!(quoted(" \"a\u{1b}[2J 'b'\" "), "`a\\u{1b}[2J 'b'`");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), MAX_QUOTED + 3);
    }
}
