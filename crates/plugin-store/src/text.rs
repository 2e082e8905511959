//! Cleans the text of a guest for a log line or a page.

/// Returns `text` as one line of at most `max` bytes. Control characters and invisible characters
/// become spaces, and an ellipsis marks a cut.
pub fn one_line(text: &str, max: usize) -> String {
    cut(text, max, is_deceptive)
}

/// Returns `text` of at most `max` bytes, with its line ends and tabs; see [`one_line`].
pub fn several_lines(text: &str, max: usize) -> String {
    cut(text, max, |c| is_deceptive(c) && c != '\n' && c != '\t')
}

/// Returns true for characters that let a text read as another one: control characters, the marks
/// of the bidirectional algorithm, line separators, and characters without a shape.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn cut(text: &str, max: usize, blank: impl Fn(char) -> bool) -> String {
    const ELLIPSIS: char = '…';
    let (kept, ellipsis) = if text.len() <= max {
        (text, None)
    } else {
        (
            &text[..text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len_utf8()))],
            Some(ELLIPSIS),
        )
    };
    // Each replaced character takes at least one byte, and the space in its place takes one byte.
    kept.trim_end()
        .chars()
        .map(|c| if blank(c) { ' ' } else { c })
        .chain(ellipsis)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_forged_log_line_stays_on_one_line() {
        assert_eq!(
            one_line("high\n2026 ERROR forged\u{1b}[31m", 64),
            "high 2026 ERROR forged [31m"
        );
        assert_eq!(several_lines("a\n\tb\u{7}", 64), "a\n\tb ");
    }

    #[test]
    fn a_text_can_not_read_as_another_one() {
        for mark in [
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{200f}',
            '\u{61c}',
            '\u{2028}',
            '\u{feff}',
            '\u{200b}',
            '\u{e0041}',
            '\u{9b}',
            '\r',
        ] {
            let text = format!("restart{mark}drain");
            assert_eq!(one_line(&text, 64), "restart drain", "{mark:?}");
            assert_eq!(several_lines(&text, 64), "restart drain", "{mark:?}");
        }
        assert_eq!(one_line("größer als 5 µs …", 64), "größer als 5 µs …");
    }

    proptest! {
        #[test]
        fn no_text_comes_out_longer_than_allowed(text in ".{0,64}", max in 3_usize..64) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(is_deceptive));
        }
    }
}
