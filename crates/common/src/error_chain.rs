//! The text of an error with its causes.

use std::error::Error;

/// Returns an error and its causes on one line, from the outermost to the innermost. Leaves out a
/// cause whose text the line already has, because some errors state their cause themselves.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (text, rest) = texts.split_first()?;
        let source = layers(rest);
        Some(Box::new(Layer { text, source }))
    }

    #[test]
    fn a_cause_is_stated_once_even_if_its_error_states_it_too() {
        for (texts, line) in [
            (&["a"][..], "a"),
            (
                &["cannot open x", "no such file"],
                "cannot open x: no such file",
            ),
            (
                &["cannot open x: no such file", "no such file"],
                "cannot open x: no such file",
            ),
            (&["s: d: `n` is 40", "`n` is 40"], "s: d: `n` is 40"),
            (&["start: s: n", "s: n", "n"], "start: s: n"),
            (&["start", "s: n", "n"], "start: s: n"),
            (&["n (remedy)", "n", "deeper"], "n (remedy): deeper"),
        ] {
            assert_eq!(describe(&*layers(texts).unwrap()), line);
        }
    }
}
