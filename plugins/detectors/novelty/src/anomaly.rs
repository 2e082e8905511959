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
        let (direction, place) = if value > range.high {
            (Direction::Above, "above")
        } else if value < range.low {
            (Direction::Below, "below")
        } else {
            (Direction::Shape, "within")
        };
        let reason = format!(
            "{} is {place} the {} to {} that were expected {source}; {}; unusual since {}",
            figure(value),
            figure(range.low),
            figure(range.high),
            seen_by(sight),
            utc(since)
        );
        let anomaly = Self { direction, low: range.low, high: range.high, lasted: 0, back: 0, told: score };
        (anomaly, Change { phase: Phase::Onset, direction, severity: score, expected: Some(range), reason })
    }

    /// It goes on; `severity` is the score if nothing had been learnt lately.
    pub(crate) fn go_on(&mut self, settings: &Settings, value: f64, severity: f64, sight: &Sight) -> Option<Change> {
        self.lasted = self.lasted.saturating_add(1);
        let in_range = self.direction != Direction::Shape && (self.low..=self.high).contains(&value);
        let back = in_range || severity < LIKE_BEFORE;
        self.back = if back { self.back.saturating_add(1) } else { 0 };
        let change = |phase, reason| {
            let expected = Some(Range { low: self.low, high: self.high });
            Some(Change { phase, direction: self.direction, severity, expected, reason })
        };
        let (low, high) = (figure(self.low), figure(self.high));
        if self.back >= settings.clear_samples {
            let why = if in_range {
                format!("is within the expected {low} to {high} again")
            } else {
                "looks like what was before, or has gone on for long enough to be known".to_owned()
            };
            return change(Phase::Clear, format!("{} {why}, for {} samples in a row", figure(value), self.back));
        }
        if self.lasted >= settings.hold_at_most {
            let reason = format!("{} after {} samples: accepted as normal", figure(value), self.lasted);
            return change(Phase::Clear, reason);
        }
        if severity >= self.told * WORSE {
            self.told = severity;
            let reason = format!("{} is worse, where {low} to {high} were expected; {}", figure(value), seen_by(sight));
            return change(Phase::Ongoing, reason);
        }
        None
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.low <= self.high
    }
}

/// Which parts of the ensemble saw it.
fn seen_by(sight: &Sight) -> String {
    let views = sight.surprised();
    match &views[..] {
        [] => "seen by the deviations alone".to_owned(),
        [one] => format!("new to 1 of {} views: {one}", VIEWS.len()),
        [..] => {
            let named = views.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let most = if views.len() > NAMED { "most to " } else { "" };
            format!("new to {} of {} views: {most}{named}", views.len(), VIEWS.len())
        }
    }
}
