//! Text from outside, made safe to show.

/// Shortens a text to at most `longest` bytes at a character boundary, and marks the cut. Replaces
/// control characters with spaces, so that a log line can't imitate a fence.
pub fn truncate(text: &str, longest: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    if clean.len() <= longest {
        return clean;
    }
    let end = (0..=longest)
        .rev()
        .find(|at| clean.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}… [cut]", &clean[..end])
}

/// Returns the beginning of bytes from outside on one line, short enough for a message.
pub fn excerpt(body: &[u8]) -> String {
    const MAX_CHARS: usize = 80;
    let start = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_CHARS)]);
    one_line(&start, MAX_CHARS)
}

/// Returns the first `max` characters of a text from outside on one line.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut count = 0;
    for word in words.filter(|word| !word.is_empty()) {
        let blank = if line.is_empty() { "" } else { " " };
        for c in blank.chars().chain(word.chars()) {
            if count == max {
                return line + "…";
            }
            line.push(c);
            count += 1;
        }
    }
    line
}

/// Returns true for a character that shows nothing or changes the order of others: control
/// characters, blanks other than the space, line separators, marks of the writing direction,
/// zero-width characters, variation selectors and tags (Unicode 16, general categories `Cc`, `Zs`,
/// `Zl` and `Zp`, the property `Default_Ignorable_Code_Point`, and the blank symbols). A name with
/// such a character looks like another name.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Error of a name from outside that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is too long.
    #[error("has {size} bytes, and at most {limit} are allowed")]
    TooLong {
        /// Size in bytes.
        size: usize,
        /// Largest accepted size.
        limit: usize,
    },
    /// The name has a character that is not visible.
    #[error("holds the hidden character U+{:04X} at byte {at}: write visible characters only", u32::from(*.character))]
    Hidden {
        /// The character.
        character: char,
        /// Position in bytes.
        at: usize,
    },
}

/// Checks a name from outside: at most `limit` bytes, and visible characters only.
///
/// # Errors
/// The name is too long, or has a hidden character.
pub fn check_name(name: &str, limit: usize) -> Result<(), NameError> {
    let size = name.len();
    if size > limit {
        return Err(NameError::TooLong { size, limit });
    }
    match name.char_indices().find(|(_, c)| is_hidden(*c)) {
        Some((at, character)) => Err(NameError::Hidden { character, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_visible_characters_only_and_a_bounded_length() {
        for name in ["", "web", "wéb-7", "ウェブ", "web 2", "a/b", "👍"] {
            assert_eq!(check_name(name, 16), Ok(()), "{name}");
        }
        for hidden in [
            "web\n",
            "\0",
            "\u{7f}",
            "\u{9b}1m",
            "w\u{202e}bew",
            "\u{2066}x",
            "\u{200b}",
            "\u{feff}web",
            "web\u{2028}",
            "web\u{2029}",
            "\u{61c}",
            "\u{e0041}",
            "\u{ad}",
            "web\u{fe0f}",
            "\u{2800}",
            "web\u{a0}2",
            "web\u{3000}2",
            "web\u{2003}2",
        ] {
            let error = check_name(hidden, 64).unwrap_err();
            assert!(
                matches!(error, NameError::Hidden { .. }),
                "{hidden:?}: {error}"
            );
            assert!(!error.to_string().contains(is_hidden), "{error}");
        }
        let error = check_name("xxxx", 3).unwrap_err().to_string();
        assert_eq!(error, "has 4 bytes, and at most 3 are allowed");
    }
}
