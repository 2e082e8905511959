//! Numbers as text for a person.

/// Returns a number with four significant digits: `412`, `0.03125`, `1.235e9`. Infinity is `∞`.
pub fn figure(value: f64) -> String {
    if value.is_nan() {
        return "nothing".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let whole_digits = if size < 1.0 {
        size.log10().ceil().min(0.0)
    } else {
        size.log10().floor() + 1.0
    };
    let decimals = if size == 0.0 {
        0.0
    } else {
        (4.0 - whole_digits).max(0.0)
    };
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_say_enough() {
        for (value, text) in [
            (412.0, "412"),
            (412.3456, "412.3"),
            (0.031_25, "0.03125"),
            (-8.123_45, "-8.123"),
            (1_234_567.0, "1234567"),
            (1.234_56e9, "1.235e9"),
            (1e-9, "1.000e-9"),
            (0.0, "0"),
            (99.999_99, "100"),
            (f64::INFINITY, "∞"),
            (f64::NAN, "nothing"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
