//! An anomaly while it lasts, and the words for it.

use anomalyzer_plugin_sdk::{Change, Direction, Phase, Range, UnixMs, figure, utc};
use serde::{Deserialize, Serialize};

use crate::ensemble::{Expected, Sight, VIEWS};
use crate::settings::Settings;

/// It is told again when it got worse by half.
const WORSE: f64 = 1.5;
/// Below this share of the threshold it looks like what was before.
const LIKE_BEFORE: f64 = 0.75;
/// So many views are named.
const NAMED: usize = 3;

#[derive(Serialize, Deserialize)]
pub(crate) struct Anomaly {
    direction: Direction,
    /// What it turned out to be, if it began within what was expected.
    turned: Option<Direction>,
    /// What was expected when it began.
    low: f64,
    high: f64,
    /// Samples since the onset.
    lasted: u32,
    /// Samples in a row that were back.
    back: u32,
    /// The severity that was told last.
    told: f64,
}

impl Anomaly {
    /// It begins with this sample; the first that was unusual came at `since`.
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

    /// It goes on; `severity` is the score if nothing had been learnt lately.
    pub(crate) fn go_on(
        &mut self,
        settings: &Settings,
        value: f64,
        severity: f64,
        sight: &Sight,
    ) -> Option<Change> {
        self.lasted = self.lasted.saturating_add(1);
        let in_range =
            self.direction != Direction::Shape && (self.low..=self.high).contains(&value);
        let back = in_range || severity < LIKE_BEFORE;
        self.back = if back { self.back.saturating_add(1) } else { 0 };
        // What is new may show before it is out of the range; which way it goes is told as soon as
        // it is.
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

/// Which parts of the ensemble saw it.
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
        // It ends as what it began as: when it looks like what was before.
        for value in [12.0, -3.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0] {
            assert_eq!(told(value), None);
        }
    }
}
