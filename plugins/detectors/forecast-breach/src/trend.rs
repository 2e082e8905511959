//! Trend of a series that single outliers do not change.

use anomalyzer_plugin_sdk::UnixMs;
use anomalyzer_statistics::middle;
use serde::{Deserialize, Serialize};

/// Maximum number of points in a trend.
const POINTS: usize = 32;
/// Minimum number of points in a trend: half of the window.
const LEAST: usize = 16;
/// Number of the newest points that must show the trend too: a quarter of the window.
const RECENT: usize = 8;
/// Minimum share of the slope that the newest points have. Noise changes the slope of few points.
const RECENT_RATIO: f64 = 0.25;
/// Share of its value below which a series that falls begins anew, as after a restart.
const FALL_RATIO: f64 = 0.6;
/// Share of its former value that the next point of such a series may have grown to again.
const REGROWTH_RATIO: f64 = 0.75;

/// Trend of the samples in the window, as up to 32 points and a line through them. Each point is
/// the mean over an equal number of milliseconds. The line is that of Theil and Sen. Its slope is
/// the median of the slopes of all pairs, so that nearly a third of the points may have any value
/// (Sen 1968, "Estimates of the regression coefficient based on Kendall's tau").
///
/// The newest quarter of the window must show the trend too, and a series that falls far begins
/// anew: what grew after a start and now stays has no trend.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trend {
    /// Time and mean of each point, the oldest first.
    points: Vec<(UnixMs, f64)>,
    /// Index of the point that is being filled. The next fields are the number of its samples,
    /// their mean, and the mean of their times since the point began.
    present: i64,
    samples: f64,
    mean: f64,
    since: f64,
    line: Option<Line>,
}

/// Line y = level + slope · (t − at), in the unit of the series and per millisecond.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    at: UnixMs,
    level: f64,
    pub(crate) slope: f64,
}

impl Trend {
    pub(crate) fn new() -> Self {
        Self {
            points: Vec::new(),
            present: i64::MIN,
            samples: 0.0,
            mean: 0.0,
            since: 0.0,
            line: None,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        self.points.len() <= POINTS && self.points.is_sorted_by(|a, b| a.0 < b.0)
    }

    /// Adds a sample and returns the line. `window` is the time over which the trend is taken, in
    /// milliseconds.
    pub(crate) fn observe(&mut self, at: UnixMs, value: f64, window: i64) -> Option<Line> {
        let width = (window / POINTS as i64).max(1);
        let point = at.div_euclid(width);
        if point != self.present {
            self.close(width);
            let oldest = at.saturating_sub(window);
            self.points.retain(|(at, _)| *at >= oldest);
            self.line = line(&self.points);
            (self.present, self.samples, self.mean, self.since) = (point, 0.0, 0.0, 0.0);
        }
        self.samples += 1.0;
        self.mean += value / self.samples - self.mean / self.samples;
        self.since += (at.rem_euclid(width) as f64 - self.since) / self.samples;
        self.line
    }

    fn close(&mut self, width: i64) {
        if self.samples > 0.0 {
            let at = self
                .present
                .saturating_mul(width)
                .saturating_add(self.since as i64);
            if self.points.len() >= POINTS {
                self.points.remove(0);
            }
            if self.points.last().is_none_or(|(last, _)| *last < at) {
                self.points.push((at, self.mean));
            }
            // A single outlier is no fall. The point between may hold samples of both sides.
            if let [.., (_, a), (_, b), _, (_, c), (_, d)] = *self.points
                && c < a.min(b) * FALL_RATIO
                && d < a.min(b) * REGROWTH_RATIO
            {
                self.points.drain(..self.points.len() - 2);
            }
        }
    }
}

fn line(points: &[(UnixMs, f64)]) -> Option<Line> {
    if points.len() < LEAST {
        return None;
    }
    let recent = points.len().saturating_sub(RECENT);
    let (whole, recent) = (slope(points), slope(&points[recent..]));
    let goes_on = recent * whole.signum() >= whole.abs() * RECENT_RATIO;
    let slope = if goes_on { whole } else { 0.0 };
    let at = points.last()?.0;
    let mut levels: Vec<f64> = points
        .iter()
        .map(|(t, y)| y + slope * at.saturating_sub(*t) as f64)
        .collect();
    Some(Line {
        at,
        level: middle(&mut levels),
        slope,
    })
}

/// Returns the median of the slopes of all pairs of points.
fn slope(points: &[(UnixMs, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, (early, low)) in points.iter().enumerate() {
        for (late, high) in &points[i + 1..] {
            slopes.push((high - low) / late.saturating_sub(*early) as f64);
        }
    }
    middle(&mut slopes)
}

impl Line {
    pub(crate) fn value(&self, at: UnixMs) -> f64 {
        self.level + self.slope * at.saturating_sub(self.at) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_outliers_does_not_bend_the_line() {
        let mut trend = Trend::new();
        let mut line = None;
        for i in 0..320 {
            let value = 5.0 + 2.0 * i as f64 + if i / 10 % 4 == 3 { 1e6 } else { 0.0 };
            line = trend.observe(i * 1000, value, 320_000);
        }
        let line = line.unwrap();
        assert!((line.slope - 0.002).abs() < 1e-9, "{line:?}");
        assert!((line.value(400_000) - 805.0).abs() < 1e-6, "{line:?}");
    }

    #[test]
    fn too_few_points_are_no_trend() {
        let mut trend = Trend::new();
        let lines: Vec<_> = (0..200)
            .map(|i| trend.observe(i * 1000, 1.0, 320_000))
            .collect();
        assert!(lines[..160].iter().all(Option::is_none) && lines[160].is_some());
    }

    #[test]
    fn growth_for_a_quarter_of_the_window_after_each_start_is_no_trend() {
        // A window of an hour, a sample every 15 s, growth for 15 minutes, and various uptimes.
        // The restart falls on any sample of a point.
        let runs = [20, 45, 60, 90, 240].map(|uptime| (0..8).map(move |offset| (uptime, offset)));
        for (uptime, offset) in runs.into_iter().flatten() {
            let mut trend = Trend::new();
            for i in 0..2 * uptime * 4 {
                let minutes = ((i + offset) % (uptime * 4)) as f64 / 4.0;
                let value = 100.0 + 200.0 * (minutes / 15.0).min(1.0);
                let line = trend.observe(i * 15_000, value, 3_600_000);
                let rise = line.map_or(0.0, |line| line.slope * 3_600_000.0);
                assert!(rise < 100.0, "{rise} in an hour, {minutes} min of {uptime}");
            }
        }
        // A leak goes on.
        let mut trend = Trend::new();
        let mut line = None;
        for i in 0..600 {
            line = trend.observe(i * 15_000, 100.0 + i as f64, 3_600_000);
        }
        let rise = line.unwrap().slope * 3_600_000.0;
        assert!((rise - 240.0).abs() < 1.0, "{rise}");
    }
}
