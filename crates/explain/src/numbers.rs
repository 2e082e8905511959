//! Numbers and times in words.

use anomalyzer_domain::{UnixMs, rfc3339};

/// Maximum number of decimals.
const MAX_DIGITS: usize = 9;

/// Writes a number with three significant digits, and large ones as whole numbers.
pub fn number(value: f64) -> String {
    let digits = digits(value);
    format!("{value:.digits$}")
}

/// Writes two numbers with enough digits to tell them apart, so that "above" looks true.
pub fn pair(a: f64, b: f64) -> (String, String) {
    let fewest = digits(a).max(digits(b));
    let written =
        (fewest..=MAX_DIGITS).map(|digits| (format!("{a:.digits$}"), format!("{b:.digits$}")));
    // Minus zero and zero are written differently, and are equal.
    let differ = |(a, b): &(String, String)| a.parse::<f64>().ok() != b.parse::<f64>().ok();
    let mut written = written.filter(differ);
    // The shortest exact form tells any two different numbers apart.
    written
        .next()
        .unwrap_or_else(|| (a.to_string(), b.to_string()))
}

/// Returns the number of decimals for three significant digits.
fn digits(value: f64) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    let magnitude = value.abs().log10().floor();
    (2.0 - magnitude).clamp(0.0, MAX_DIGITS as f64) as usize
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", share.clamp(0.0, 1.0) * 100.0)
}

/// Writes hours and minutes in UTC.
pub fn clock(at: UnixMs) -> String {
    let text = rfc3339(at);
    text.get(11..16)
        .map_or(text.clone(), |clock| format!("{clock} UTC"))
}

pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
