//! Runs a detector: shows it frames of samples, and checks its verdicts.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use super::bindings::detector::exports::anomalyzer::plugin::detector::{
    Direction as GuestDirection, Finding as GuestFinding, Frame as GuestFrame, Phase as GuestPhase,
    Series as GuestSeries, Verdict as GuestVerdict,
};
use super::error::PluginError;
use super::exports::{DetectorExports, DetectorPre};
use super::instance::Instance;
use super::runtime::{OPENING_BYTES, Runtime};
use super::text::one_line;
use anomalyzer_domain::{Direction, Labels, Phase, Range, UnixMs};

/// Maximum length of the reason of a finding, in bytes.
const REASON_BYTES: usize = 512;

/// Samples in columns: sample i is (`ids[i]`, `at[i]`, `values[i]`). `at` rises strictly within a
/// series, and values are finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Time recorded with the input. It never falls from one frame to the next.
    pub now: UnixMs,
    /// Series that this instance has not seen before. An id is never used for another series.
    pub opened: Vec<(u32, Labels)>,
    /// Series to forget after the samples of this frame.
    pub closed: Vec<u32>,
    /// Series of each sample.
    pub ids: Vec<u32>,
    /// Time of each sample.
    pub at: Vec<UnixMs>,
    /// Value of each sample.
    pub values: Vec<f64>,
}

impl Frame {
    /// Adds a sample.
    pub fn push(&mut self, id: u32, at: UnixMs, value: f64) {
        self.ids.push(id);
        self.at.push(at);
        self.values.push(value);
    }

    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns true if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Empties the frame for the next use, and keeps its memory.
    pub fn clear(&mut self) {
        self.opened.clear();
        self.closed.clear();
        self.ids.clear();
        self.at.clear();
        self.values.clear();
    }

    /// Checks the promises of the contract to the guest that can be checked in one pass without
    /// branches.
    fn check(&self) -> Result<(), String> {
        let (ids, at, values) = (self.ids.len(), self.at.len(), self.values.len());
        if ids != values || at != values {
            return Err(format!(
                "the columns of the frame differ in length: {ids} ids, {at} times, {values} values"
            ));
        }
        if u32::try_from(values).is_err() {
            return Err(format!("a frame of {values} samples is too large"));
        }
        if !self
            .values
            .iter()
            .fold(true, |finite, value| finite & value.is_finite())
        {
            return Err("the frame holds a value that is not finite".to_owned());
        }
        Ok(())
    }
}

/// Verdict of a detector on a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameVerdict {
    /// One score per sample if scores were asked for, else empty. Scores are finite and not
    /// negative.
    pub scores: Vec<f64>,
    /// Changes of phase, sorted by sample.
    pub findings: Vec<RawFinding>,
}

/// Change of phase of one series, as the detector reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFinding {
    /// Index into the frame's columns. It is always within their length.
    pub sample: u32,
    /// Phase of the series.
    pub phase: Phase,
    /// Direction of the anomaly.
    pub direction: Direction,
    /// Novelty of the anomaly; 1 is the detector's threshold. It is finite and not negative.
    pub score: f64,
    /// Severity while the anomaly lasts. It is finite and not negative.
    pub severity: f64,
    /// Range that the detector expected.
    pub expected: Option<Range>,
    /// Reason, in one line of at most 512 bytes.
    pub reason: String,
}

/// Detector that is ready to be opened.
pub(super) struct Detector {
    pub(super) name: Arc<str>,
    pub(super) version: String,
    pub(super) digest: String,
    pub(super) history_ms: u64,
    /// Default minimum number of samples, from the schema of its settings, if the schema has it.
    pub(super) min_samples: Option<u32>,
    pub(super) pre: DetectorPre,
    pub(super) runtime: Arc<Runtime>,
}

/// One instance of a detector, on the thread of its owner. The workers run it, and a benchmark
/// measures it without them. After an error that lost the instance, every call returns
/// [`PluginError::Lost`].
pub struct DetectorInstance {
    pub(super) plugin: Arc<Detector>,
    pub(super) instance: Instance<Guest>,
}

/// Guest that watches series.
pub(super) struct Guest {
    pub(super) exports: DetectorExports,
    pub(super) monitor: ResourceAny,
}

impl DetectorInstance {
    /// Opens an instance in a store of its own.
    pub(super) fn open(plugin: Arc<Detector>, settings: &str) -> Result<Self, PluginError> {
        let deadline = plugin.runtime.limits.describe_deadline;
        let mut sandbox = plugin.runtime.sandbox(plugin.name.clone());
        let exports = sandbox.call("instantiate", deadline, OPENING_BYTES, |store| {
            plugin.pre.instantiate(store)
        })?;
        let monitor = sandbox
            .call("open", deadline, OPENING_BYTES, |store| {
                exports.detector.monitor().call_open(store, settings)
            })?
            .map_err(PluginError::from_guest)?;
        let guest = Guest { exports, monitor };
        Ok(Self {
            instance: Instance::new(plugin.name.clone(), sandbox, guest),
            plugin,
        })
    }

    /// Shows the detector a frame. The guest may hand back about 1 KiB per sample.
    pub fn observe(
        &mut self,
        frame: &Frame,
        want_scores: bool,
    ) -> Result<FrameVerdict, PluginError> {
        frame.check().map_err(|reason| PluginError::Input {
            plugin: self.plugin.name.to_string(),
            reason,
        })?;
        let labels: Vec<Vec<(&str, &str)>> = frame
            .opened
            .iter()
            .map(|(_, labels)| labels.iter().collect())
            .collect();
        let opened: Vec<GuestSeries<'_>> = frame
            .opened
            .iter()
            .zip(&labels)
            .map(|((id, _), labels)| GuestSeries { id: *id, labels })
            .collect();
        let columns = GuestFrame {
            now: frame.now,
            opened: &opened,
            closed: &frame.closed,
            ids: &frame.ids,
            at: &frame.at,
            values: &frame.values,
        };
        let bytes = OPENING_BYTES + frame.len() * 1024;
        self.instance.call(
            "observe",
            self.plugin.runtime.limits.call_deadline,
            bytes,
            |store, Guest { exports, monitor }| {
                let exports = exports.detector.monitor();
                exports.call_observe(store, *monitor, columns, want_scores)
            },
            |verdict| checked(verdict, frame.len(), want_scores),
        )
    }
}

/// Converts a guest's verdict on `samples` samples. Returns an error if the verdict breaks the
/// contract.
fn checked(
    verdict: GuestVerdict,
    samples: usize,
    want_scores: bool,
) -> Result<FrameVerdict, String> {
    let GuestVerdict { scores, findings } = verdict;
    let expected = if want_scores { samples } else { 0 };
    if scores.len() != expected {
        return Err(format!(
            "it returned {} scores instead of {expected}",
            scores.len()
        ));
    }
    if !scores.iter().fold(true, |good, score| {
        good & (score.is_finite() & (*score >= 0.0))
    }) {
        return Err("a score is not finite, or is negative".to_owned());
    }
    let mut least = 0;
    let findings = findings
        .into_iter()
        .map(|finding| {
            let GuestFinding {
                sample,
                phase,
                direction,
                score,
                severity,
                expected,
                reason,
            } = finding;
            if (sample as usize) >= samples {
                return Err(format!("a finding names sample {sample} of {samples}"));
            }
            if u64::from(sample) < least {
                return Err(format!("sample {sample} is named twice or out of order"));
            }
            least = u64::from(sample) + 1;
            for (what, value) in [("score", score), ("severity", severity)] {
                if !value.is_finite() || value < 0.0 {
                    return Err(format!(
                        "the {what} of the finding at sample {sample} is {value}"
                    ));
                }
            }
            let end = |value: f64| value.is_finite().then_some(value);
            Ok(RawFinding {
                sample,
                phase: match phase {
                    GuestPhase::Onset => Phase::Onset,
                    GuestPhase::Ongoing => Phase::Ongoing,
                    GuestPhase::Clear => Phase::Clear,
                },
                direction: match direction {
                    GuestDirection::Above => Direction::Above,
                    GuestDirection::Below => Direction::Below,
                    GuestDirection::Shape => Direction::Shape,
                },
                score,
                severity,
                expected: expected.map(|range| Range {
                    low: end(range.low),
                    high: end(range.high),
                }),
                reason: one_line(&reason, REASON_BYTES),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(FrameVerdict { scores, findings })
}

#[cfg(test)]
mod tests {
    use super::super::bindings::detector::exports::anomalyzer::plugin::detector::Range as GuestRange;
    use super::*;

    fn finding(sample: u32) -> GuestFinding {
        GuestFinding {
            sample,
            phase: GuestPhase::Onset,
            direction: GuestDirection::Above,
            score: 1.5,
            severity: 1.5,
            expected: None,
            reason: "high".to_owned(),
        }
    }

    fn check(
        findings: Vec<GuestFinding>,
        scores: Vec<f64>,
        want_scores: bool,
    ) -> Result<FrameVerdict, String> {
        checked(GuestVerdict { scores, findings }, 3, want_scores)
    }

    #[test]
    fn a_verdict_that_keeps_the_contract_passes() {
        let verdict = check(vec![finding(0), finding(2)], vec![0.0, 1.0, 2.0], true).unwrap();
        assert_eq!(verdict.scores, [0.0, 1.0, 2.0]);
        assert_eq!(
            verdict
                .findings
                .iter()
                .map(|f| f.sample)
                .collect::<Vec<_>>(),
            [0, 2]
        );
    }

    #[test]
    fn samples_must_be_inside_and_rise() {
        assert!(
            check(vec![finding(3)], vec![], false)
                .unwrap_err()
                .contains("sample 3 of 3")
        );
        assert!(check(vec![finding(u32::MAX)], vec![], false).is_err());
        assert!(
            check(vec![finding(1), finding(1)], vec![], false)
                .unwrap_err()
                .contains("twice")
        );
        assert!(check(vec![finding(2), finding(1)], vec![], false).is_err());
    }

    #[test]
    fn scores_must_be_as_many_as_asked_for_finite_and_not_negative() {
        assert!(
            check(vec![], vec![1.0], true)
                .unwrap_err()
                .contains("1 scores instead of 3")
        );
        assert!(check(vec![], vec![1.0, 2.0, 3.0], false).is_err());
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(check(vec![], vec![0.0, bad, 0.0], true).is_err());
            assert!(
                check(
                    vec![GuestFinding {
                        score: bad,
                        ..finding(0)
                    }],
                    vec![],
                    false
                )
                .is_err()
            );
            assert!(
                check(
                    vec![GuestFinding {
                        severity: bad,
                        ..finding(0)
                    }],
                    vec![],
                    false
                )
                .is_err()
            );
        }
    }

    #[test]
    fn an_infinite_end_is_a_missing_one_and_a_long_reason_is_cut() {
        let range = GuestRange {
            low: f64::NEG_INFINITY,
            high: 2.0,
        };
        let long = GuestFinding {
            expected: Some(range),
            reason: "ä".repeat(5000),
            ..finding(0)
        };
        let verdict = check(vec![long], vec![], false).unwrap();
        assert_eq!(
            verdict.findings[0].expected,
            Some(Range {
                low: None,
                high: Some(2.0)
            })
        );
        assert!(verdict.findings[0].reason.len() <= REASON_BYTES);
    }

    #[test]
    fn a_frame_that_breaks_the_hosts_own_promise_is_not_handed_over() {
        let mut frame = Frame::default();
        frame.push(1, 0, 1.0);
        assert_eq!(frame.check(), Ok(()));
        frame.values[0] = f64::NAN;
        assert!(frame.check().unwrap_err().contains("not finite"));
        frame.ids.clear();
        assert!(frame.check().unwrap_err().contains("differ in length"));
    }
}
