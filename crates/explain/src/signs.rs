//! Signs that last: values out of their range for at least two windows.

use crate::input::Usual;

/// Number of windows out of range after which a deviation lasts. One window may be an accident of
/// sampling.
pub const LASTING_WINDOWS: usize = 2;

/// Distance from the usual range, in widths of the range, from which a lasting value is a sign. One
/// sample in twenty is outside of a 95 % range by definition; a value that far out is not one of
/// them.
pub const LASTING_WIDTHS: f64 = 1.0;

/// Smallest width of a range as a part of its upper end. A resource that never moved would leave
/// its range by rounding: a part of ten is what a person calls a change.
const MIN_RELATIVE_WIDTH: f64 = 0.1;

/// Lasting deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lasting {
    /// Number of windows out of range.
    pub windows: usize,
    /// Second largest distance from the range, in widths: two windows are at least that far out.
    pub widths: f64,
    /// Newest value out of range.
    pub value: f64,
    /// Upper end of the range.
    pub high: f64,
    /// First window out of range.
    pub first: usize,
}

/// Finds a lasting deviation above the usual range.
pub fn lasting(samples: &[Option<f64>], usual: Usual) -> Option<Lasting> {
    let width = (usual.high - usual.low).max(MIN_RELATIVE_WIDTH * usual.high.abs());
    let known = samples.iter().enumerate();
    let known =
        known.filter_map(|(window, value)| Some((window, value.filter(|v| v.is_finite())?)));
    let out: Vec<(usize, f64)> = known
        .filter(|(_, value)| *value - usual.high >= LASTING_WIDTHS * width && *value > usual.high)
        .collect();
    if out.len() < LASTING_WINDOWS {
        return None;
    }
    let mut distances: Vec<f64> = out.iter().map(|(_, value)| value - usual.high).collect();
    distances.sort_by(|a, b| b.total_cmp(a));
    let (first, last) = (out.first()?, out.last()?);
    Some(Lasting {
        windows: out.len(),
        // A range of no width at zero makes every distance infinite; the bound keeps it a number.
        widths: (distances[LASTING_WINDOWS - 1] / width).min(f64::MAX),
        value: last.1,
        high: usual.high,
        first: first.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_lasts_two_windows_and_leaves_its_range_clearly() {
        let usual = Usual {
            low: 10.0,
            level: 15.0,
            high: 20.0,
        };
        for (samples, windows) in [
            (&[Some(40.0)][..], None),
            (&[Some(40.0), Some(22.0)], None),
            (&[Some(40.0), None, Some(31.0)], Some(2)),
            (&[Some(40.0), Some(f64::NAN), Some(f64::INFINITY)], None),
            (&[Some(1.0), Some(1.0)], None),
            (&[], None),
        ] {
            let found = lasting(samples, usual).map(|sign| sign.windows);
            assert_eq!(found, windows, "{samples:?}");
        }
    }
}
