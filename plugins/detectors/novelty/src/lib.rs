//! How unlike everything before the recent samples of a series are, seen in seven ways.
//!
//! Seven *leaders* each keep up to 48 prototypes of what a few samples in a row look like (their
//! least, largest and mean value) and say how far the present ones are from the nearest (`leader`).
//! They look at x over 24 and over 6 samples, at its distance from a slow average over 12, at its
//! distance from what is usual at that hour of the week over 1 and over 12, at its standard
//! deviation over 48, and at a smooth average over 24. Five *deviations* say how many standard
//! deviations simpler figures are above their mean. A score is
//!
//! s = mean_i min(d_i, 0.1) / 0.0433 + 0.125 · mean_j log(1 + max(z_j, 0)),
//!
//! and counts where it is above all of the last 100: elsewhere s / (1 + s) is told, which is below
//! 1. So 1 is the threshold.
//!
//! That says when something begins. How long it lasts is said by prototypes that are at least 100
//! samples old: the younger ones are of the anomaly itself. It is over when the samples are back in
//! the range that was expected at the onset, look like what was before, or have gone on for so long
//! that they are what is normal now.
//!
//! One pass, nothing but the past, bounded memory, and the same for every series.

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

/// The detector.
pub struct Novelty {
    settings: Settings,
}

impl Detector for Novelty {
    type Settings = Settings;
    type Series = Series;

    /// A day: what is usual at an hour of the week is learnt on the way.
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
