//! Checks of settings, with error messages that name the key.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::Error;

/// Checks that a setting is in a range. Returns [`Error::Invalid`] if it is not.
pub fn within<T: PartialOrd + Display + Copy>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "`{key}` is {value}: give {} to {}",
        range.start(),
        range.end()
    )))
}

/// Checks that a setting is a finite number above 0. Returns [`Error::Invalid`] if it is not.
pub fn above_zero(key: &str, value: f64) -> Result<(), Error> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "`{key}` is {value}: give a number above 0"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(within("window", 7, 2..=9), Ok(()));
        assert_eq!(
            within("window", 1, 2..=9),
            Err(Error::Invalid("`window` is 1: give 2 to 9".to_owned()))
        );
        assert!(within("share", f64::NAN, 0.0..=1.0).is_err());
        assert_eq!(above_zero("limit", 0.5), Ok(()));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(above_zero("limit", wrong).is_err());
        }
    }
}
