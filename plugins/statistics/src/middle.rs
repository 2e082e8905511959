//! Median of values in a slice.

/// Returns the median, which is the mean of the two middle values if their number is even. Returns
/// NaN for an empty slice. The order of the values is lost.
pub fn middle(values: &mut [f64]) -> f64 {
    let half = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    let (below, high, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let high = *high;
    let low = below.iter().copied().max_by(f64::total_cmp);
    match low {
        Some(low) if values.len().is_multiple_of(2) => f64::midpoint(low, high),
        _ => high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_value_in_the_middle() {
        assert!(middle(&mut []).is_nan());
        assert_eq!(middle(&mut [3.0]), 3.0);
        assert_eq!(middle(&mut [9.0, 1.0]), 5.0);
        assert_eq!(middle(&mut [9.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(&mut [4.0, 9.0, 1.0, 2.0]), 3.0);
    }
}
