//! Cleans the text of a guest for a log line or a page.

/// Returns `text` as one line of at most `max` bytes. Control characters become spaces, and an
/// ellipsis marks a cut.
pub(super) fn one_line(text: &str, max: usize) -> String {
    cut(text, max, |c| c.is_control())
}

/// Returns `text` of at most `max` bytes, with its line ends and tabs; see [`one_line`].
pub(super) fn several_lines(text: &str, max: usize) -> String {
    cut(text, max, |c| c.is_control() && c != '\n' && c != '\t')
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
    // A control character takes at most two bytes, and the space in its place takes one byte.
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

    proptest! {
        #[test]
        fn no_text_comes_out_longer_than_allowed(text in ".{0,64}", max in 3_usize..64) {
            let line = one_line(&text, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
