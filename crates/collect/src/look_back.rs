//! The time before an instant that the value of a PromQL expression depends on.

use std::time::Duration;

/// Units of PromQL in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("y", 31_536_000_000),
];

/// Returns the longest time that `query` looks back: its ranges, with the subqueries around them
/// and the offsets behind them. A part that cannot be read adds nothing.
pub fn look_back(query: &str) -> Duration {
    let mut rest = query;
    // The longest time of each open parenthesis, innermost last.
    let mut open = vec![0_u64];
    // The time of the expression that ends here.
    let mut last = 0;
    while let Some(first) = rest.chars().next() {
        let mut step = first.len_utf8();
        match first {
            '"' | '\'' | '`' => step = quoted(rest, first),
            '#' => step = rest.find('\n').unwrap_or(rest.len()),
            '(' => open.push(0),
            ')' => last = open.pop().unwrap_or_default(),
            '[' => {
                step = rest.find(']').map_or(rest.len(), |end| end + 1);
                let inside = rest.get(1..step.saturating_sub(1)).unwrap_or_default();
                last = match inside.split_once(':') {
                    Some((range, _)) => milliseconds(range).saturating_add(last),
                    None => milliseconds(inside),
                };
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                step = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(step);
                if word.eq_ignore_ascii_case("offset") {
                    let after = after.trim_start();
                    let end = after.find(|c: char| !is_word(c)).unwrap_or(after.len());
                    last = milliseconds(&after[..end]).saturating_add(last);
                    step = rest.len() - after.len() + end;
                } else {
                    last = 0;
                }
            }
            _ => {}
        }
        match open.last_mut() {
            Some(longest) => *longest = last.max(*longest),
            None => open.push(last),
        }
        rest = rest.get(step..).unwrap_or_default();
    }
    Duration::from_millis(open.into_iter().max().unwrap_or_default())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the length of the string at the beginning of `text`. Only backquotes know no escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the milliseconds of a duration such as `1h30m`, or of a number of seconds.
fn milliseconds(text: &str) -> u64 {
    let mut rest = text.trim();
    let mut all = 0_u64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = if unit.is_empty() { "s" } else { unit };
        let factor = UNITS.iter().find(|(name, _)| *name == unit);
        let (Ok(number), Some((_, factor))) = (number.parse::<u64>(), factor) else {
            return all;
        };
        all = all.saturating_add(number.saturating_mul(*factor));
        rest = after;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_the_subqueries_around_them_and_the_offsets_count() {
        for (query, seconds) in [
            ("up", 0),
            ("rate(x[5m])", 300),
            ("rate(a[5m]) / rate(b[1m])", 300),
            ("sum by (le) (rate(x{a=\"[9h]\"}[90s]))", 90),
            ("sum(rate(x{a='it\\'s [9h]'}[ 1h30m ]))", 5_400),
            ("max_over_time(rate(x[5m])[30m:1m])", 2_100),
            ("max_over_time((rate(x[5m]) + rate(y[10m]))[30m:])", 2_400),
            ("rate(x[5m] offset 1h) or rate(x[5m])", 3_900),
            ("x offset 10m", 600),
            ("rate(x[300])", 300),
            ("rate(offset_total[2m]) # [9h]", 120),
            ("rate(x[1ms])", 0),
            ("sum(x[[[9", 0),
            ("rate(x[99999999999999999999y])", 0),
            ("))))", 0),
        ] {
            assert_eq!(look_back(query).as_secs(), seconds, "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(query in "[\\[\\]()a-z0-9:'\"`\\\\ é#\n]{0,60}") {
            let _read = look_back(&query);
        }
    }
}
