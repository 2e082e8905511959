//! What a detector knew when it found something, and what it says when it is asked again.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::detector::{Detector, Named, Subject};
use super::memory::{Kept, Memory, settings_hash};
use super::recalled::Recalled;
use super::series::{KEPT, SeriesTable};
use super::watched::Watched;
use anomalyzer_collect::DetectorConfig;
use anomalyzer_domain::{Finding, Phase, Series, Target, Witness, WitnessMemory};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};

/// Most witnesses of one frame: each costs a look into the memory's file.
const MOST: usize = 8;

impl Watched {
    /// What is known of the findings that just began. To be asked before their memory is saved
    /// anew.
    pub(super) async fn witnesses(
        &self,
        signal: &str,
        found: &[Named],
        memory: Option<&Memory>,
    ) -> Vec<(Target, Witness)> {
        let mut witnesses = Vec::new();
        for (id, target, finding) in found
            .iter()
            .filter(|(.., finding)| finding.phase == Phase::Onset)
            .take(MOST)
        {
            let by = |detector: &&Detector| detector.digest() == finding.detector_digest;
            let Some(detector) = self.detectors.iter().find(by) else {
                continue;
            };
            let kept = match memory {
                Some(memory) => memory
                    .one(signal, target, &finding.labels, &detector.config)
                    .await
                    .ok()
                    .flatten(),
                None => None,
            };
            let recent = self.table.samples(*id, finding.at);
            let mut witness = witness(finding.clone(), &detector.config, kept, recent);
            // Of what its series share, and of what it can't save, nothing is known.
            witness.whole &= !detector.shares().await;
            witnesses.push((target.clone(), witness));
        }
        witnesses
    }
}

fn witness(
    finding: Finding,
    config: &DetectorConfig,
    kept: Option<Kept>,
    mut samples: Vec<anomalyzer_domain::Sample>,
) -> Witness {
    let memory = kept
        .filter(|kept| kept.digest == finding.detector_digest && kept.watermark < finding.at)
        .and_then(
            |Kept {
                 version,
                 watermark,
                 saved,
                 ..
             }| {
                Some(WitnessMemory {
                    version,
                    watermark,
                    saved: STANDARD.encode(saved?),
                })
            },
        );
    // With fewer than are kept, none was ever let go.
    let all = samples.len() < KEPT;
    let whole = match &memory {
        Some(memory) => {
            all || samples
                .first()
                .is_some_and(|first| first.at <= memory.watermark)
        }
        None => all,
    };
    if let Some(memory) = &memory {
        samples.retain(|sample| sample.at > memory.watermark);
    }
    Witness {
        finding,
        settings: config.settings.clone(),
        memory,
        samples,
        whole,
    }
}

/// Asks the detector of that name again, as the service would, and answers what it says of the
/// sample that the witness is about.
///
/// # Errors
/// It can't be opened, or fails.
pub async fn testify(
    plugins: &Plugins,
    detector: &str,
    target: &Target,
    witness: &Witness,
) -> Result<Option<Finding>, PluginError> {
    let Finding {
        signal,
        meaning,
        labels,
        at,
        ..
    } = &witness.finding;
    let config = DetectorConfig {
        name: detector.to_owned(),
        settings: witness.settings.clone(),
    };
    let mut detector = Detector::open(plugins, &config).await?;
    let (mut table, mut frame) = (
        SeriesTable::default(),
        Frame {
            now: *at,
            ..Frame::default()
        },
    );
    if let Some(memory) = &witness.memory {
        let saved = STANDARD.decode(&memory.saved);
        let saved = saved.map_err(|error| {
            PluginError::Invalid(format!("what was saved of it can't be read: {error}"))
        })?;
        let opened = table.recall(target, labels, memory.watermark, *at);
        let kept = Kept {
            series: Some((target.clone(), labels.clone())),
            detector: config.name.clone(),
            settings: settings_hash(&config),
            version: memory.version.clone(),
            digest: witness.finding.detector_digest.clone(),
            watermark: memory.watermark,
            seen: None,
            onset: None,
            saved: Some(saved),
        };
        let mut recalled = Recalled::default();
        detector
            .restore(vec![(opened.map(|(id, _)| id), kept)], &mut recalled)
            .await;
        if let Some(why) = recalled.why {
            return Err(PluginError::Invalid(format!(
                "it does not take what was saved of it: {why}"
            )));
        }
    }
    let series = Series {
        labels: labels.clone(),
        samples: witness.samples.clone(),
    };
    table.feed(&mut frame, target, std::slice::from_ref(&series));
    let of = Subject {
        signal,
        meaning: *meaning,
        table: &table,
    };
    let found = detector.look(of, &Arc::new(frame), None).await?;
    let at_it = found
        .into_iter()
        .map(|(_, _, finding)| finding)
        .filter(|finding| finding.at == *at);
    // Where it says two things of one sample, the beginning of an anomaly counts.
    Ok(at_it.min_by_key(|finding| finding.phase != Phase::Onset))
}
