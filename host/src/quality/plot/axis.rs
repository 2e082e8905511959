//! Ranges, ticks and labels of the axes.

use jiff::Timestamp;

use crate::domain::UnixMs;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Usual steps of time, in milliseconds.
const STEPS: [i64; 26] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
];

/// Ticks of a time axis with their format. There are at most `most` + 1 of them.
pub(super) struct Ticks {
    pub(super) at: Vec<f64>,
    format: &'static str,
}

impl Ticks {
    pub(super) fn new(from: UnixMs, to: UnixMs, most: i64) -> Self {
        let least = to.saturating_sub(from) / most + 1;
        let weeks = || (least / (7 * DAY) + 1) * 7 * DAY;
        let step = STEPS
            .into_iter()
            .find(|step| *step >= least)
            .unwrap_or_else(weeks);
        let format = match step {
            ..SECOND => "%H:%M:%S%.3f",
            SECOND..MINUTE => "%H:%M:%S",
            MINUTE..DAY => "%m-%d %H:%M",
            _ => "%Y-%m-%d",
        };
        let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0);
        let at = (first..)
            .map(|n| n.saturating_mul(step))
            .take_while(|at| *at <= to)
            .take(most as usize + 1);
        Self {
            at: at.map(|at| at as f64).collect(),
            format,
        }
    }

    pub(super) fn write(&self, at: f64) -> String {
        let at = Timestamp::from_millisecond(at as i64);
        at.map(|at| at.strftime(self.format).to_string())
            .unwrap_or_default()
    }
}

/// Returns the range from the lowest to the highest value with a margin, even if all values are
/// equal. Returns `None` if the values cannot be drawn: there are none, or their difference is no
/// finite number.
pub(super) fn heights(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    let most = low.abs().max(high.abs());
    // The margin must be large enough not to vanish in the rounding of the sum.
    let margin = ((high - low) * 0.05).max(most * 1e-6).max(1e-290);
    let margin = if low == high {
        (most * 0.05).max(1.0)
    } else {
        margin
    };
    let (low, high) = (low - margin, high + margin);
    (high - low).is_finite().then_some((low, high))
}

/// Formats a number in a few characters.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let written = format!("{value:.4}");
    written
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_at_round_times_and_few() {
        let at = 1_396_310_400_000; // 2014-04-01T00:00:00Z
        let ticks = |from, to| {
            let ticks = Ticks::new(from, to, 8);
            ticks
                .at
                .iter()
                .map(|at| ticks.write(*at))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ticks(at + 1, at + 2 * HOUR),
            ["04-01 00:30", "04-01 01:00", "04-01 01:30", "04-01 02:00"]
        );
        assert_eq!(ticks(at, at + 14 * DAY)[..2], ["2014-04-02", "2014-04-04"]);
        assert_eq!(
            ticks(at, at + 3),
            [
                "00:00:00.000",
                "00:00:00.001",
                "00:00:00.002",
                "00:00:00.003"
            ]
        );
        assert_eq!(ticks(at, at), ["00:00:00.000"]);
        for to in [
            1,
            999,
            12_345,
            86_400_000,
            31_536_000_000,
            9_000_000_000_000,
        ] {
            assert!((1..=9).contains(&ticks(at, at + to).len()), "{to}");
        }
    }

    #[test]
    fn whatever_can_be_drawn_has_some_height() {
        let heights = |values: &[f64]| heights(values.iter().copied());
        assert_eq!(heights(&[0.0, 10.0]), Some((-0.5, 10.5)));
        assert_eq!(heights(&[5.0]), Some((4.0, 6.0)));
        for values in [
            [1e300, 1e300],
            [1e9, 1e9 + 1e-7],
            [0.0, 5e-324],
            [-1e300, 1e300],
        ] {
            assert!(
                heights(&values).is_some_and(|(low, high)| low < values[0] && values[1] < high),
                "{values:?}"
            );
        }
        assert_eq!((heights(&[]), heights(&[f64::MIN, f64::MAX])), (None, None));
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.0, 1.0, -2.5, 0.123_456, 123_456.7, 1e6, 1e-4, -3.2e12].map(figure);
        assert_eq!(
            figures,
            [
                "0", "1", "-2.5", "0.1235", "123456.7", "1.00e6", "1.00e-4", "-3.20e12"
            ]
        );
    }
}
