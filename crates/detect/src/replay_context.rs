//! The context of a finding: the detector's state and samples before it, with which the detector
//! can evaluate the finding again.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::context::SignalView;
use super::detector::{SeriesFinding, SignalDetector};
use super::restore::RestoreReport;
use super::series::{MAX_RECENT, SeriesTable};
use super::signal_state::SignalState;
use super::state_store::{SavedState, StateStore, settings_hash};
use anomalyzer_domain::{
    DetectorConfig, Finding, Phase, ReplayContext, Sample, Series, Target, WitnessMemory,
};
use anomalyzer_plugin_host::{Frame, PluginError, Plugins};

/// Maximum number of contexts per frame. Each one costs a read of the state store.
const MAX_PER_FRAME: usize = 8;

/// Returns the contexts of the findings that just began, each with its target. The caller must call
/// this before the state of their series is saved again.
pub(super) async fn replay_contexts(
    state: &SignalState,
    signal: &str,
    found: &[SeriesFinding],
    store: Option<&StateStore>,
) -> Vec<(Target, ReplayContext)> {
    let mut contexts = Vec::new();
    let onsets = found
        .iter()
        .filter(|found| found.finding.phase == Phase::Onset);
    for SeriesFinding {
        series,
        target,
        finding,
    } in onsets.take(MAX_PER_FRAME)
    {
        let mut active = state.detectors.active.iter();
        let Some(detector) = active.find(|detector| detector.digest() == finding.detector_digest)
        else {
            continue;
        };
        let saved = match store {
            Some(store) => store
                .one(signal, target, &finding.labels, &detector.config)
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let recent = state.table.samples(*series, finding.at);
        let mut context = replay_context(finding.clone(), &detector.config, saved, recent);
        // The context lacks the state that series share, and state that was not saved.
        context.whole &= !detector.may_share_state().await;
        contexts.push((target.clone(), context));
    }
    contexts
}

fn replay_context(
    finding: Finding,
    config: &DetectorConfig,
    saved: Option<SavedState>,
    mut samples: Vec<Sample>,
) -> ReplayContext {
    let memory = saved
        .filter(|saved| saved.digest == finding.detector_digest && saved.watermark < finding.at)
        .and_then(|saved| {
            Some(WitnessMemory {
                version: saved.version,
                watermark: saved.watermark,
                saved: STANDARD.encode(saved.saved?),
            })
        });
    // The table dropped no sample if it holds fewer than the maximum.
    let has_all = samples.len() < MAX_RECENT;
    let whole = match &memory {
        Some(memory) => {
            has_all
                || samples
                    .first()
                    .is_some_and(|first| first.at <= memory.watermark)
        }
        None => has_all,
    };
    if let Some(memory) = &memory {
        samples.retain(|sample| sample.at > memory.watermark);
    }
    ReplayContext {
        finding,
        settings: config.settings.clone(),
        memory,
        samples,
        whole,
    }
}

/// Evaluates the samples of a context again with the detector of that name, as the service did.
/// Returns the finding about the sample of the original finding, if there is one.
///
/// # Errors
/// The detector does not open, or fails.
pub async fn re_evaluate(
    plugins: &Plugins,
    detector: &str,
    target: &Target,
    context: &ReplayContext,
) -> Result<Option<Finding>, PluginError> {
    let Finding {
        signal,
        meaning,
        labels,
        at,
        ..
    } = &context.finding;
    let config = DetectorConfig {
        name: detector.to_owned(),
        settings: context.settings.clone(),
    };
    let mut detector = SignalDetector::open(plugins, &config).await?;
    let mut table = SeriesTable::default();
    let mut frame = Frame {
        now: *at,
        ..Frame::default()
    };
    if let Some(memory) = &context.memory {
        let opened = table.restore(target, labels, memory.watermark, *at);
        let saved = saved_state(target, &config, &context.finding, memory)?;
        let mut report = RestoreReport::default();
        detector
            .restore(vec![(opened.map(|(id, _)| id), saved)], &mut report)
            .await;
        if let Some(why) = report.why {
            return Err(PluginError::Invalid(format!(
                "it does not take what was saved of it: {why}"
            )));
        }
    }
    let series = Series {
        labels: labels.clone(),
        samples: context.samples.clone(),
    };
    table.feed(&mut frame, target, std::slice::from_ref(&series));
    let view = SignalView {
        signal,
        meaning: *meaning,
        table: &table,
    };
    let found = detector.evaluate(view, &Arc::new(frame), None).await?;
    let about_the_sample = found
        .into_iter()
        .map(|found| found.finding)
        .filter(|finding| finding.at == *at);
    // The onset counts if two findings are about one sample.
    Ok(about_the_sample.min_by_key(|finding| finding.phase != Phase::Onset))
}

fn saved_state(
    target: &Target,
    config: &DetectorConfig,
    finding: &Finding,
    memory: &WitnessMemory,
) -> Result<SavedState, PluginError> {
    let saved = STANDARD.decode(&memory.saved).map_err(|error| {
        PluginError::Invalid(format!("what was saved of it can't be read: {error}"))
    })?;
    Ok(SavedState {
        series: Some((target.clone(), finding.labels.clone())),
        detector: config.name.clone(),
        settings: settings_hash(config),
        version: memory.version.clone(),
        digest: finding.detector_digest.clone(),
        watermark: memory.watermark,
        seen: None,
        onset: None,
        saved: Some(saved),
    })
}
