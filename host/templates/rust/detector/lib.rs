//! Reports when a series leaves its recent range: an exponentially weighted mean, plus or minus a
//! number of standard deviations.
//!
//! The detector learns nothing during an anomaly, so that one outage does not hide the next. An
//! anomaly that lasts as long as the detector's memory becomes the new normal level.

use anomalyzer_plugin_sdk::{About, Change, Detector, Direction, Error, Observation, Phase, Range, UnixMs, figure};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings, set by the operator. The comments of the fields become the descriptions in the schema.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Approximate number of samples to remember. The detector reports nothing before it has seen
    /// this number of samples.
    #[schemars(range(min = 2, max = 100000))]
    pub memory: u32,
    /// Number of standard deviations from the mean beyond which a sample is unusual.
    pub deviations: f64,
    /// Number of usual samples in a row that end an anomaly.
    #[schemars(range(min = 1))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { memory: 60, deviations: 5.0, clear_samples: 3 }
    }
}

/// Largest absolute value. Larger values are clamped to it, so that squares stay finite.
const LARGEST: f64 = 1e150;

/// Detector of unusual samples.
pub struct Usual {
    settings: Settings,
    /// Weight of a new sample.
    rate: f64,
}

/// State of one series.
#[derive(Default)]
pub struct Series {
    seen: u32,
    mean: f64,
    variance: f64,
    anomaly: Option<Anomaly>,
}

/// State of an ongoing anomaly.
struct Anomaly {
    direction: Direction,
    expected: Range,
    /// Number of samples since the onset.
    lasted: u32,
    /// Number of usual samples in a row.
    back: u32,
}

impl Detector for Usual {
    type Settings = Settings;
    type Series = Series;

    /// Span of the default `memory` at Prometheus's usual interval of 15 s.
    const HISTORY_MS: u64 = 60 * 15_000;

    fn about() -> About {
        About {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            summary: "whether a series keeps to what it lately was",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        // The author of the settings reads this message: name the key, and say which values are
        // valid.
        let wrong = |key: &str, value: f64, want: &str| Err(Error::Invalid(format!("`{key}` is {value}: give {want}")));
        if !(2..=100_000).contains(&settings.memory) {
            return wrong("memory", settings.memory.into(), "2 to 100000");
        }
        if !(settings.deviations > 0.0 && settings.deviations.is_finite()) {
            return wrong("deviations", settings.deviations, "a number above 0");
        }
        if settings.clear_samples == 0 {
            return wrong("clear_samples", 0.0, "1 or more");
        }
        let rate = 2.0 / (f64::from(settings.memory) + 1.0);
        Ok(Self { settings, rate })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series::default()
    }

    fn observe(&mut self, series: &mut Series, _at: UnixMs, value: f64) -> Observation {
        let value = value.clamp(-LARGEST, LARGEST);
        let limit = series.variance.sqrt() * self.settings.deviations;
        let distance = value - series.mean;
        if series.seen < self.settings.memory {
            series.seen += 1;
            // The first samples have equal weights. Otherwise the very first sample would dominate
            // the mean.
            series.learn(distance, self.rate.max(1.0 / f64::from(series.seen)));
            return Observation::quiet(0.0);
        }
        // After samples without any deviation, every change is unusual.
        let score = if distance == 0.0 { 0.0 } else { distance.abs() / limit };
        let Some(anomaly) = &mut series.anomaly else {
            if score <= 1.0 {
                series.learn(distance, self.rate);
                return Observation::quiet(score);
            }
            let (direction, side) =
                if distance > 0.0 { (Direction::Above, "above") } else { (Direction::Below, "below") };
            let (mean, severity) = (figure(series.mean), figure(score));
            let reason = format!("{} is {side} the mean {mean}, {severity} times as far as is usual", figure(value));
            let expected = Range { low: series.mean - limit, high: series.mean + limit };
            series.anomaly = Some(Anomaly { direction, expected, lasted: 0, back: 0 });
            let change = Change { phase: Phase::Onset, direction, severity: score, expected: Some(expected), reason };
            return Observation::change(score, change);
        };
        anomaly.lasted += 1;
        anomaly.back = if score <= 1.0 { anomaly.back + 1 } else { 0 };
        let (direction, expected) = (anomaly.direction, Some(anomaly.expected));
        let reason = if anomaly.back >= self.settings.clear_samples {
            let back = anomaly.back;
            series.anomaly = None;
            format!("{} is usual again, for {back} samples in a row", figure(value))
        } else if anomaly.lasted >= self.settings.memory {
            *series = Series::default();
            format!("{} after {} samples: taken for the new level", figure(value), self.settings.memory)
        } else {
            return Observation::quiet(score);
        };
        Observation::change(score, Change { phase: Phase::Clear, direction, severity: score, expected, reason })
    }
}

impl Series {
    /// Updates mean and variance by West's method (1979) with a constant weight.
    fn learn(&mut self, distance: f64, rate: f64) {
        let step = distance * rate;
        self.mean += step;
        self.variance = (1.0 - rate) * (self.variance + distance * step);
    }
}

anomalyzer_plugin_sdk::export_detector!(Usual);

#[cfg(test)]
mod tests {
    use anomalyzer_plugin_sdk::Error;
    use anomalyzer_plugin_sdk::test::{Direction, Finding, Phase, assert_lawful_detector, detect, series::Series};

    use super::Usual;

    fn findings(series: Series) -> Vec<(u32, Phase, Direction)> {
        let found = detect::<Usual>("{}", &series.samples()).expect("valid settings").findings;
        found.into_iter().map(|Finding { sample, phase, direction, .. }| (sample, phase, direction)).collect()
    }

    #[test]
    fn noise_and_a_constant_are_usual() {
        assert_eq!(findings(Series::noise(1, 600, 100.0, 5.0)), []);
        assert_eq!(findings(Series::of([5.0; 600])), []);
    }

    #[test]
    fn a_new_level_is_unusual_until_it_has_lasted() {
        let found = findings(Series::noise(2, 600, 100.0, 5.0).shift(300.., 100.0));
        assert_eq!(found[0], (300, Phase::Onset, Direction::Above));
        assert_eq!(found[1..], [(360, Phase::Clear, Direction::Above)]);
    }

    #[test]
    fn one_outage_does_not_hide_the_next() {
        let series = Series::noise(3, 600, 100.0, 5.0).stuck(200..205, 0.0).stuck(400..405, 0.0);
        let onsets: Vec<u32> =
            findings(series).iter().filter(|found| found.1 == Phase::Onset).map(|found| found.0).collect();
        assert_eq!(onsets, [200, 400]);
    }

    #[test]
    fn it_keeps_the_contract_on_whatever_comes() {
        assert_lawful_detector::<Usual>("{}");
        assert_lawful_detector::<Usual>(r#"{"memory": 5, "deviations": 0.5, "clear_samples": 1}"#);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (settings, key) in [
            (r#"{"memory": 1}"#, "`memory`"),
            (r#"{"deviations": 0}"#, "`deviations`"),
            (r#"{"memry": 60}"#, "`memry`"),
        ] {
            let Err(Error::Invalid(message)) = detect::<Usual>(settings, &[]) else { panic!("{settings} passed") };
            assert!(message.contains(key), "{message}");
        }
    }
}
