//! Anomaly while it lasts, and its reasons in words.

use anomalyzer_plugin_sdk::{Change, Direction, Phase, Range, UnixMs, figure, utc};
use serde::{Deserialize, Serialize};

use crate::ensemble::{Expected, Sight, VIEWS};
use crate::settings::Settings;

/// Factor by which the severity must grow before the anomaly is reported again.
const WORSE: f64 = 1.5;
/// Share of the threshold below which a sample looks like the samples before the anomaly.
const LIKE_BEFORE: f64 = 0.75;
/// Maximum number of views that a reason names.
const NAMED: usize = 3;

#[derive(Serialize, Deserialize)]
pub(crate) struct Anomaly {
    direction: Direction,
    /// Direction in which the value left the expected range later, if the anomaly began within it.
    turned: Option<Direction>,
    /// Range that was expected when the anomaly began.
    low: f64,
    high: f64,
    /// Number of samples since the onset.
    lasted: u32,
    /// Number of consecutive samples that look normal again.
    back: u32,
    /// Severity of the last report.
    told: f64,
}

impl Anomaly {
    /// Begins an anomaly with this sample. The first unusual sample came at `since`.
    pub(crate) fn begin(value: f64, score: f64, sight: &Sight, since: UnixMs) -> (Self, Change) {
        let Expected { range, source } = sight.expected();
        let direction = direction(value, range.low, range.high);
        let place = word(direction);
        let reason = format!(
            "{} is {place} the {} to {} that were expected {source}; {}; unusual since {}",
            figure(value),
            figure(range.low),
            figure(range.high),
            seen_by(sight),
            utc(since)
        );
        let anomaly = Self {
            direction,
            turned: None,
            low: range.low,
            high: range.high,
            lasted: 0,
            back: 0,
            told: score,
        };
        (
            anomaly,
            Change {
                phase: Phase::Onset,
                direction,
                severity: score,
                expected: Some(range),
                reason,
            },
        )
    }

    /// Continues the anomaly with a sample and returns a change to report. `severity` is the score
    /// that the sample would have if nothing had been learnt lately.
    pub(crate) fn go_on(
        &mut self,
        settings: &Settings,
        value: f64,
        severity: f64,
        sight: &Sight,
    ) -> Option<Change> {
        self.lasted = self.lasted.saturating_add(1);
        let was_out = self.direction != Direction::Shape || self.turned.is_some();
        let in_range = was_out && (self.low..=self.high).contains(&value);
        let back = in_range || severity < LIKE_BEFORE;
        self.back = if back { self.back.saturating_add(1) } else { 0 };
        // A new shape may show before the value leaves the range. The direction is reported as soon
        // as the value leaves it.
        let turns = self.direction == Direction::Shape && self.turned.is_none();
        if turns {
            self.turned = Some(direction(value, self.low, self.high))
                .filter(|turned| *turned != Direction::Shape);
        }
        let direction = self.turned.unwrap_or(self.direction);
        let change = |phase, reason| {
            let expected = Some(Range {
                low: self.low,
                high: self.high,
            });
            Some(Change {
                phase,
                direction,
                severity,
                expected,
                reason,
            })
        };
        let (low, high) = (figure(self.low), figure(self.high));
        if self.back >= settings.clear_samples {
            let why = if in_range {
                format!("is within the expected {low} to {high} again")
            } else {
                "looks like what was before, or has gone on for long enough to be known".to_owned()
            };
            return change(
                Phase::Clear,
                format!(
                    "{} {why}, for {} samples in a row",
                    figure(value),
                    self.back
                ),
            );
        }
        if self.lasted >= settings.hold_at_most {
            let reason = format!(
                "{} after {} samples: accepted as normal",
                figure(value),
                self.lasted
            );
            return change(Phase::Clear, reason);
        }
        if turns && self.turned.is_some() {
            self.told = self.told.max(severity);
            let place = word(direction);
            return change(
                Phase::Ongoing,
                format!(
                    "{} is {place} the {low} to {high} that were expected",
                    figure(value)
                ),
            );
        }
        if severity >= self.told * WORSE {
            self.told = severity;
            let reason = format!(
                "{} is worse, where {low} to {high} were expected; {}",
                figure(value),
                seen_by(sight)
            );
            return change(Phase::Ongoing, reason);
        }
        None
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.low <= self.high
    }
}

fn direction(value: f64, low: f64, high: f64) -> Direction {
    if value > high {
        Direction::Above
    } else if value < low {
        Direction::Below
    } else {
        Direction::Shape
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Above => "above",
        Direction::Below => "below",
        Direction::Shape => "within",
    }
}

/// Returns the words for the parts of the ensemble that saw the anomaly.
fn seen_by(sight: &Sight) -> String {
    let views = sight.surprised();
    match &views[..] {
        [] => "seen by the deviations alone".to_owned(),
        [one] => format!("new to 1 of {} views: {one}", VIEWS.len()),
        [..] => {
            let named = views
                .iter()
                .take(NAMED)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            let most = if views.len() > NAMED { "most to " } else { "" };
            format!(
                "new to {} of {} views: {most}{named}",
                views.len(),
                VIEWS.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ensemble::Ensemble;

    #[test]
    fn what_begins_within_the_range_says_once_which_way_it_went_as_soon_as_it_is_out() {
        let sight = Ensemble::new().observe(0, 5.0);
        let (mut anomaly, _) = Anomaly::begin(5.0, 1.5, &sight, 0);
        (anomaly.direction, anomaly.low, anomaly.high) = (Direction::Shape, 0.0, 10.0);
        let mut told = |value| {
            let change = anomaly.go_on(&Settings::default(), value, 1.5, &sight)?;
            Some((change.phase, change.direction, change.reason))
        };
        assert_eq!(told(9.0), None);
        let (phase, direction, reason) = told(11.0).unwrap();
        assert_eq!((phase, direction), (Phase::Ongoing, Direction::Above));
        assert_eq!(reason, "11 is above the 0 to 10 that were expected");
        // The anomaly names the range now, and ends when the values are back in it.
        let samples = Settings::default().clear_samples;
        for value in [12.0, -3.0]
            .into_iter()
            .chain(vec![5.0; samples as usize - 1])
        {
            assert_eq!(told(value), None);
        }
        let (phase, _, reason) = told(5.0).unwrap();
        assert_eq!(phase, Phase::Clear);
        assert!(
            reason.contains("within the expected 0 to 10 again"),
            "{reason}"
        );
    }

    #[test]
    fn a_shape_within_the_range_ends_when_it_looks_like_before() {
        let sight = Ensemble::new().observe(0, 5.0);
        let (mut anomaly, _) = Anomaly::begin(5.0, 1.5, &sight, 0);
        (anomaly.direction, anomaly.low, anomaly.high) = (Direction::Shape, 0.0, 10.0);
        for _ in 0..20 {
            let change = anomaly.go_on(&Settings::default(), 5.0, 1.4, &sight);
            assert!(change.is_none_or(|change| change.phase != Phase::Clear));
        }
    }
}
