//! Parses times in the formats that people and programs write into files.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use anomalyzer_domain::UnixMs;

/// Smallest number that counts as milliseconds. Smaller numbers are seconds. The bound is in the
/// year 5138 as seconds, and in 1973 as milliseconds.
const LEAST_MILLISECONDS: i64 = 100_000_000_000;

/// Largest absolute value of a valid time: 9999-12-31T23:59:59.999Z.
const FURTHEST: i64 = 253_402_300_799_999;

/// Parses `2014-04-01 00:05:00` (UTC), RFC 3339, or seconds or milliseconds since 1970. Returns
/// `None` for any other text.
pub fn parse(text: &str) -> Option<UnixMs> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        let seconds = whole.unsigned_abs() < LEAST_MILLISECONDS.unsigned_abs();
        let at = if seconds {
            whole.checked_mul(1000)?
        } else {
            whole
        };
        return (at.unsigned_abs() <= FURTHEST.unsigned_abs()).then_some(at);
    }
    if let Ok(number) = text.parse::<f64>() {
        let at = if number.abs() < LEAST_MILLISECONDS as f64 {
            number * 1000.0
        } else {
            number
        };
        return (at.abs() <= FURTHEST as f64).then_some(at.round() as i64);
    }
    // A sign behind the date can only begin an offset.
    let has_offset = text
        .get(10..)
        .is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    if has_offset {
        return text
            .parse::<Timestamp>()
            .ok()
            .map(Timestamp::as_millisecond);
    }
    let civil = text.parse::<DateTime>().ok()?;
    TimeZone::UTC
        .to_timestamp(civil)
        .ok()
        .map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_time_may_be_written_in_four_ways() {
        const AT: Option<i64> = Some(1_396_310_700_000);
        for text in [
            "2014-04-01 00:05:00",
            " 2014-04-01 00:05:00.000000 ",
            "2014-04-01T00:05:00",
            "2014-04-01T00:05:00Z",
            "2014-04-01 02:05:00+02:00",
            "2014-03-31T20:05:00-04:00",
            "1396310700",
            "1396310700000",
            "1396310700.0",
        ] {
            assert_eq!(parse(text), AT, "{text}");
        }
        assert_eq!(parse("1396310700.25"), AT.map(|at| at + 250));
        assert_eq!(parse("2014-04-01 00:05:00.25"), AT.map(|at| at + 250));
        assert_eq!((parse("0"), parse("-1")), (Some(0), Some(-1000)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "timestamp",
            "NaN",
            "inf",
            "1e300",
            "99999999999999999",
            "2014-02-30 00:00:00",
            "2014-04-01 24:01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
