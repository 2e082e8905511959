//! Detector that measures how much the recent samples of a series differ from everything before
//! them, in seven views.
//!
//! Seven *leaders* each keep up to 48 prototypes of the shape of a few samples in a row (their
//! least, largest and mean value). A leader returns the distance of the present shape from the
//! nearest prototype (`leader`). The seven leaders look at these figures:
//!
//! - x over 24 samples and over 6 samples
//! - the distance of x from a slow average, over 12 samples
//! - the distance of x from the usual value at that hour of the week, over 1 and over 12 samples
//! - the standard deviation of x over 48 samples
//! - a smooth average of x, over 24 samples
//!
//! Five *deviations* return the number of standard deviations by which simpler figures exceed their
//! mean. A score is
//!
//! s = mean_i min(d_i, 0.1) / 0.0433 + 0.125 · mean_j log(1 + max(z_j, 0)).
//!
//! The score counts if it is above all of the last 100 scores. Otherwise the detector returns s /
//! (1 + s), which is below 1. The threshold is therefore 1.
//!
//! The score says when an anomaly begins. Prototypes that are at least 100 samples old say how long
//! it lasts, because the younger ones belong to the anomaly itself. The anomaly ends when the
//! samples are back in the range that was expected at the onset, when they look like the samples
//! before it, or when they have gone on for so long that they are normal.
//!
//! The detector reads each sample once, uses only the past, has a bounded memory, and treats every
//! series alike.

mod anomaly;
mod deviation;
mod ensemble;
mod leader;
mod lens;
mod profile;
mod record;
mod scale;
mod series;
mod settings;
mod spread;
mod stream;

use anomalyzer_plugin_sdk::{About, Detector, Error, Observation, Saved, StatefulDetector, UnixMs};

pub use series::Series;
pub use settings::Settings;

/// Detector `novelty`.
pub struct Novelty {
    settings: Settings,
}

impl Detector for Novelty {
    type Settings = Settings;
    type Series = Series;

    /// A day. The detector learns the usual values of the hours of the week on the way.
    const HISTORY_MS: u64 = 24 * 3_600_000;

    fn about() -> About {
        About {
            name: "novelty",
            version: env!("CARGO_PKG_VERSION"),
            summary: "how unlike everything before the recent samples are, seen in seven ways",
        }
    }

    fn open(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self { settings })
    }

    fn series(&self, _labels: &[(String, String)]) -> Series {
        Series::new()
    }

    fn observe(&mut self, series: &mut Series, at: UnixMs, value: f64) -> Observation {
        series.observe(&self.settings, at, value)
    }
}

impl StatefulDetector for Novelty {
    fn restore(&self, _labels: &[(String, String)], saved: &Saved<'_>) -> Result<Series, Error> {
        saved.read_if(Self::LAYOUT, Series::fits)
    }
}

anomalyzer_plugin_sdk::export_stateful_detector!(Novelty);
