//! Reads and writes numbers as Prometheus does, which is written in Go.

/// Parses a number as Prometheus parses a sample's value: a decimal number, `Inf`, `Infinity` or
/// `NaN` in any case. A number beyond the range is none.
pub fn parse_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    // Rust accepts a sign before NaN. Go does not.
    if digits.len() < text.len() && digits.starts_with(['n', 'N']) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    (value.is_finite() || !is_number).then_some(value)
}

/// Writes a bucket's bound or a quantile as OpenMetrics does: `1.0`, `0.25`, `1e+06`, `+Inf`.
pub fn format_bound(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0.0".to_owned();
    }
    // Both languages write the fewest digits that identify the number. Go's format `%g` has an
    // exponent of at least two digits for numbers from a million on, and below 0.0001.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_by_go() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("1e-400", 0.0),
            ("Inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("iNfInItY", f64::INFINITY),
        ] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        for text in ["NaN", "nan", "NAN"] {
            assert!(parse_float(text).unwrap().is_nan());
        }
        for text in [
            "", ".", "-", "e5", "1e", "0x1p-2", "0x10", "1_000", "1e400", "-1e400", "+NaN", "-nan",
            "Infin", "1,5", "1 ", "1\r", "٣", "1f", "1d",
        ] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_written_as_by_openmetrics() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (0.25, "0.25"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.0, "0.0"),
            (100_000.0, "100000.0"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (2_097_152.0, "2.097152e+06"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_bound(value), text);
        }
    }

    proptest! {
        #[test]
        fn a_bound_that_is_written_is_read_back(value in prop::num::f64::NORMAL) {
            prop_assert_eq!(parse_float(&format_bound(value)), Some(value));
        }
    }
}
