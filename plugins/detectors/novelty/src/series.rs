//! State of one series: its ensemble, and its anomaly if there is one.

use anomalyzer_plugin_sdk::{Observation, UnixMs};
use serde::{Deserialize, Serialize};

use crate::anomaly::Anomaly;
use crate::ensemble::{Ensemble, Sight};
use crate::record::Record;
use crate::settings::Settings;

/// Share of the threshold from which a sample is unusual. An anomaly counts as unusual since the
/// first of these samples in a row.
const UNUSUAL: f64 = 0.5;

/// State of one series.
#[derive(Serialize, Deserialize)]
pub struct Series {
    ensemble: Ensemble,
    record: Record,
    /// Number of samples seen, up to the number from which findings count.
    seen: u32,
    unusual_since: Option<UnixMs>,
    /// Present anomaly. Boxed, because it is rare.
    anomaly: Option<Box<Anomaly>>,
}

impl Series {
    pub(crate) fn new() -> Self {
        Self {
            ensemble: Ensemble::new(),
            record: Record::new(),
            seen: 0,
            unusual_since: None,
            anomaly: None,
        }
    }

    /// Returns true if this version can continue with the saved state.
    pub(crate) fn fits(&self) -> bool {
        self.ensemble.fits()
            && self.record.fits()
            && self
                .anomaly
                .as_ref()
                .is_none_or(|anomaly| anomaly.is_sound())
    }

    pub(crate) fn observe(&mut self, settings: &Settings, at: UnixMs, value: f64) -> Observation {
        let sight = self.ensemble.observe(at, value);
        let score = sight.score() / settings.threshold;
        let record = self.record.observe(score);
        if score < UNUSUAL {
            self.unusual_since = None;
        } else if self.unusual_since.is_none() {
            self.unusual_since = Some(at);
        }
        if self.seen < settings.min_samples {
            self.seen += 1;
            return Observation::quiet(0.0);
        }
        // A score that is no record stays below the threshold. The order of these scores is kept.
        let told = if record { score } else { score / (1.0 + score) };
        if self.anomaly.is_some() || told >= 1.0 {
            return self.unusual(settings, at, value, told, &sight);
        }
        Observation::quiet(told)
    }

    #[cold]
    fn unusual(
        &mut self,
        settings: &Settings,
        at: UnixMs,
        value: f64,
        score: f64,
        sight: &Sight,
    ) -> Observation {
        let Some(anomaly) = &mut self.anomaly else {
            let (anomaly, onset) =
                Anomaly::begin(value, score, sight, self.unusual_since.unwrap_or(at));
            self.anomaly = Some(Box::new(anomaly));
            return Observation::change(score, onset);
        };
        let severity = self.ensemble.lasting(sight) / settings.threshold;
        let Some(change) = anomaly.go_on(settings, value, severity, sight) else {
            return Observation::quiet(score);
        };
        if change.phase == anomalyzer_plugin_sdk::Phase::Clear {
            self.anomaly = None;
        }
        Observation::change(score, change)
    }
}
