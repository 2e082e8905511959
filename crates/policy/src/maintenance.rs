//! Planned maintenance windows, during which the host does nothing by itself.

use anomalyzer_domain::millis;
use std::time::Duration;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Selector;
use super::time_zone::time_zone;
use anomalyzer_domain::{ConfigIssue, UnixMs, duration};

/// Maximum duration of a maintenance window.
const MAX_DURATION: Duration = Duration::from_secs(31 * 24 * 3600);
/// Maximum time by which the clocks of a time zone are set forward at once.
const MAX_CLOCK_CHANGE: Duration = Duration::from_secs(3 * 3600);

/// Planned work on some targets, repeated by a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Start of the window in cron syntax: minute, hour, day of month, month, day of week.
    pub schedule: String,
    /// IANA name of the schedule's time zone, such as `Europe/Berlin`. The schedule follows
    /// daylight saving time.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Duration of the window.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// Targets of the work. Defaults to all targets.
    #[serde(default)]
    pub targets: Selector,
    /// Reason for the work, for readers of the record.
    #[serde(default)]
    pub why: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Maintenance {
    fn crontab(&self) -> Result<Crontab, String> {
        // The schedule is evaluated on the wall clock of the time zone, as if that clock showed
        // UTC: the parser would look other names up in the machine's database.
        let text = format!("{} UTC", self.schedule);
        cronexpr::parse_crontab(&text).map_err(|error| {
            // The first lines of the error show the text with a marker below it.
            let reason = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            format!(
                "`{}` in `{}` is no schedule: {reason}; write for example \"0 2 * * SUN\" and \"Europe/Berlin\"",
                self.schedule, self.timezone
            )
        })
    }

    /// Checks the settings of this window.
    ///
    /// # Errors
    /// Returns an error if the schedule or the time zone is malformed, or if the duration is zero
    /// or longer than 31 days.
    pub fn validate(&self) -> Result<(), ConfigIssue> {
        if self.duration.is_zero() || self.duration > MAX_DURATION {
            return Err(ConfigIssue::at(
                "duration",
                "duration must be more than nothing, and at most 31 days",
            ));
        }
        time_zone(&self.timezone).map_err(|message| ConfigIssue::at("timezone", message))?;
        self.crontab()
            .map(drop)
            .map_err(|message| ConfigIssue::at("schedule", message))
    }

    /// Returns the start of the window that contains `now`. The end of a window is outside of it.
    /// If the window can't be determined, `now` counts as inside, so that nothing is done.
    pub fn since(&self, now: UnixMs) -> Option<UnixMs> {
        match self.next_start(now.saturating_sub(millis(self.duration))) {
            Some(start) => Some(start).filter(|start| *start <= now),
            None => Some(now),
        }
    }

    /// Returns the first start after `time`. `None` means that it can't be determined.
    fn next_start(&self, time: UnixMs) -> Option<UnixMs> {
        let zone = time_zone(&self.timezone).ok()?;
        let crontab = self.crontab().ok()?;
        // A start that a change of the clocks skips comes as much later, and may follow `time`
        // although the wall clock shows an earlier time. The search therefore begins before it.
        let earlier = time.saturating_sub(millis(MAX_CLOCK_CHANGE));
        let wall_clock = zone.to_datetime(Timestamp::from_millisecond(earlier).ok()?);
        let as_utc = wall_clock.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let after = MakeTimestamp::from_millisecond(as_utc.as_millisecond()).ok()?;
        for next in crontab.iter_after(after).ok()? {
            let start = zone
                .to_ambiguous_zoned(next.ok()?.datetime())
                .compatible()
                .ok()?;
            let start = start.timestamp().as_millisecond();
            if start > time {
                return Some(start);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(schedule: &str, timezone: &str, hours: u64) -> Maintenance {
        Maintenance {
            schedule: schedule.into(),
            timezone: timezone.into(),
            duration: Duration::from_secs(hours * 3600),
            targets: Selector::default(),
            why: None,
        }
    }

    fn at(time: &str) -> UnixMs {
        time.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_window_begins_and_ends_by_the_clock_of_its_time_zone() {
        let sunday = window("0 2 * * SUN", "Europe/Berlin", 2);
        for (time, inside) in [
            ("2026-11-22T00:59:59Z", false),
            ("2026-11-22T01:00:00Z", true),
            ("2026-11-22T02:59:59Z", true),
            ("2026-11-22T03:00:00Z", false),
            // In summer, the window is an hour earlier in UTC.
            ("2026-07-05T00:00:00Z", true),
            ("2026-07-05T02:00:00Z", false),
            ("2026-11-23T01:30:00Z", false),
        ] {
            assert_eq!(sunday.since(at(time)).is_some(), inside, "{time}");
        }
        assert_eq!(
            sunday.since(at("2026-11-22T02:30:00Z")),
            Some(at("2026-11-22T01:00:00Z"))
        );
    }

    #[test]
    fn a_window_follows_the_changes_of_the_clocks() {
        let night = window("30 2 * * *", "Europe/Berlin", 1);
        for (time, inside) in [
            // On 2026-03-29 the clocks skip from 02:00 to 03:00: the window starts at 03:30.
            ("2026-03-29T01:29:59Z", false),
            ("2026-03-29T01:30:00Z", true),
            ("2026-03-29T02:29:59Z", true),
            ("2026-03-29T02:30:00Z", false),
            // On 2026-10-25 the hour from 02:00 to 03:00 comes twice: the first one counts.
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:29:59Z", true),
            ("2026-10-25T02:30:00Z", false),
        ] {
            assert_eq!(night.since(at(time)).is_some(), inside, "{time}");
        }
    }

    #[test]
    fn one_that_begins_before_the_last_has_ended_goes_on() {
        let always = window("0 * * * *", "UTC", 2);
        assert!((0..100).all(|minutes| {
            always
                .since(at("2026-11-22T00:00:00Z") + minutes * 60_000)
                .is_some()
        }));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        for wrong in [
            window("0 2 * *", "UTC", 1),
            window("0 25 * * *", "UTC", 1),
            window("0 2 * * *", "Europe/Nowhere", 1),
        ] {
            let error = wrong.validate().unwrap_err().message;
            assert!(error.contains("write for example"), "{error}");
        }
        assert!(window("0 2 * * *", "UTC", 0).validate().is_err());
        assert!(window("0 2 * * *", "UTC", 800).validate().is_err());
        assert_eq!(window("0 2 * * SUN", "Europe/Berlin", 2).validate(), Ok(()));
    }
}
