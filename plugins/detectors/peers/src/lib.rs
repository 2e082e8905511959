//! Detector of a replica that differs from its siblings at the same time.
//!
//! The detector uses the modified z-score of Iglewicz & Hoaglin ("How to detect and handle
//! outliers", 1993) against the siblings: M = 0.6745 · (x − median) / MAD. The median and the MAD
//! are over the values of the siblings. A sample is judged when the next sample of its series
//! arrives. By then all siblings have reported for that time. score = |M| / threshold, and the
//! default threshold is 3.5, as in the paper. The detector does not see changes that all replicas
//! share (more traffic, a slow database), and needs no known range.
//!
//! Siblings are series of one signal whose labels differ only in the labels of `by`.

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
    /// Modified z-score from which a replica is too far from its siblings.
    pub threshold: f64,
    /// Labels that tell replicas apart. Series that differ in no other label are siblings.
    pub by: Vec<String>,
    /// Minimum number of siblings. With fewer siblings, nothing is found.
    #[schemars(range(min = 2, max = 10_000))]
    pub least_siblings: u32,
    /// Minimum of the median deviation of the siblings, as a share of their median.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub relative: f64,
    /// Time in which a sibling must have reported to count, in seconds.
    pub fresh_seconds: f64,
    /// Number of consecutive samples far from the siblings that begin an anomaly.
    #[schemars(range(min = 1, max = 100_000))]
    pub for_samples: u32,
    /// Number of consecutive samples near the siblings that end an anomaly.
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

/// 0.75 quantile of the normal distribution. A MAD divided by it is a standard deviation.
const TO_Z: f64 = 0.6745;
/// Maximum modified z-score. If all siblings are equal, any other value is infinitely far. The
/// bound keeps distances comparable.
const MAX_SCORE: f64 = 1e6;

/// Detector `peers`.
pub struct Peers {
    settings: Settings,
    rule: Rule,
    fresh_ms: i64,
    groups: Groups,
    /// Values of the siblings. The buffer is kept, so that no sample allocates.
    others: Vec<f64>,
}

/// State of one series.
pub struct Series {
    member: Member,
    episode: Episode,
}

impl Detector for Peers {
    type Settings = Settings;
    type Series = Series;

    /// 0, because the siblings are all that the detector compares with.
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
            (TO_Z * off / deviation).abs().min(MAX_SCORE)
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
