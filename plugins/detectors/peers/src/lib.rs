//! Whether one of several replicas differs from its siblings at the same time.
//!
//! The modified z-score of Iglewicz & Hoaglin ("How to detect and handle outliers", 1993) against
//! the siblings: M = 0.6745 · (x − median) / MAD, both over what the others were at. A sample is
//! judged when the next one of its series comes: by then all siblings have spoken of that time.
//! score = |M| / threshold, which by default is their 3.5. What all replicas do together (more
//! traffic, a slow database) is not seen here, and needs no range to be known.
//!
//! Siblings are series of one signal whose labels differ in nothing but `by`.

mod group;

use anomalyzer_plugin_sdk::{
    About, Detector, Direction, Episode, Error, Observation, Phase, Range, Rule, Told, UnixMs,
    above_zero, figure, within,
};
use anomalyzer_statistics::middle;
use schemars::JsonSchema;
use serde::Deserialize;

use group::{Groups, Member};

/// Settings of the detector `peers`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The modified z-score that is too far.
    pub threshold: f64,
    /// The labels that tell replicas apart: series that differ in no other are siblings.
    pub by: Vec<String>,
    /// With fewer siblings than this nothing is found.
    #[schemars(range(min = 2, max = 10_000))]
    pub least_siblings: u32,
    /// The median deviation of the siblings counts as at least this share of their median.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub relative: f64,
    /// A sibling that said nothing within so many seconds does not count.
    pub fresh_seconds: f64,
    /// So many samples in a row must be out for an anomaly to begin.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// So many samples in a row must be back for it to end.
    #[schemars(range(min = 1, max = 100_000))]
    pub clear_samples: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 3.5,
            by: ["instance", "pod", "pod_name", "replica", "host", "node"]
                .map(str::to_owned)
                .to_vec(),
            least_siblings: 3,
            relative: 0.05,
            fresh_seconds: 60.0,
            for_samples: 2,
            clear_samples: 3,
        }
    }
}

/// The 0.75 quantile of the normal distribution: makes a MAD a standard deviation.
const TO_Z: f64 = 0.6745;
/// Siblings that are all equal make any other infinitely far. Bounded, so that it can be compared.
const MOST: f64 = 1e6;

/// The detector.
pub struct Peers {
    settings: Settings,
    rule: Rule,
    fresh_ms: i64,
    groups: Groups,
    /// What the siblings are at: kept, so that no sample allocates.
    others: Vec<f64>,
}

/// What is remembered of one series.
pub struct Series {
    member: Member,
    episode: Episode,
}

impl Detector for Peers {
    type Settings = Settings;
    type Series = Series;

    /// The siblings say all there is to know.
    const HISTORY_MS: u64 = 0;

    fn about() -> About {
        About {
            name: "peers",
            version: env!("CARGO_PKG_VERSION"),
            summary: "whether one of several replicas differs from its siblings",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        above_zero("threshold", settings.threshold)?;
        within("least_siblings", settings.least_siblings, 2..=10_000)?;
        within("relative", settings.relative, 0.0..=1.0)?;
        within("fresh_seconds", settings.fresh_seconds, 1.0..=1e9)?;
        let rule = Rule::new(settings.for_samples, settings.clear_samples)?;
        let fresh_ms = (settings.fresh_seconds * 1000.0) as i64;
        Ok(Self {
            settings,
            rule,
            fresh_ms,
            groups: Groups::default(),
            others: Vec::new(),
        })
    }

    fn series(&self, labels: &[(String, String)]) -> Series {
        Series {
            member: self.groups.join(labels, &self.settings.by),
            episode: Episode::default(),
        }
    }

    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        let others = &mut self.others;
        let Some(value) = series.member.say(at, value, self.fresh_ms, others) else {
            return Observation::quiet(0.0);
        };
        let siblings = others.len();
        if siblings < self.settings.least_siblings as usize {
            return series
                .episode
                .observe(self.rule, 0.0, |_| alone(value, siblings));
        }
        let median = middle(others);
        others
            .iter_mut()
            .for_each(|other| *other = (*other - median).abs());
        let deviation = middle(others).max(self.settings.relative * median.abs());
        let off = value - median;
        let z = if off == 0.0 {
            0.0
        } else {
            (TO_Z * off / deviation).abs().min(MOST)
        };
        series.episode.observe(self.rule, z / self.settings.threshold, |phase| {
            let (shown, about) = (figure(value), figure(median));
            let (direction, side) = if off > 0.0 { (Direction::Above, "above") } else { (Direction::Below, "below") };
            let reason = match phase {
                Phase::Clear => format!("{shown} is like the {about} of its {siblings} siblings again"),
                Phase::Onset | Phase::Ongoing => format!(
                    "{shown} is {side} the {about} of its {siblings} siblings, {} median deviations away",
                    figure(z / TO_Z)
                ),
            };
            let room = self.settings.threshold * deviation / TO_Z;
            Told { direction, expected: Some(Range { low: median - room, high: median + room }), reason }
        })
    }
}

fn alone(value: f64, siblings: usize) -> Told {
    let reason = format!(
        "{} has {siblings} siblings left, too few to be compared with",
        figure(value)
    );
    Told {
        direction: Direction::Shape,
        expected: None,
        reason,
    }
}

anomalyzer_plugin_sdk::export_detector!(Peers);
