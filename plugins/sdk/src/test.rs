//! Test helpers that run plugins natively: a detector on a series, an action against a scripted
//! world.

mod laws;
pub mod series;

use serde_json::Value;

use crate::bindings::action::exports::anomalyzer::plugin::action as action_wit;
use crate::bindings::detector::exports::anomalyzer::plugin::detector as detector_wit;
use crate::{
    Action, Detector, Error, Frame, Operation, Outcome, Run, StatefulDetector, Step, Target,
    UnixMs, Verdict, Watch,
};

pub use detector_wit::{Direction, Finding, Phase};
pub use laws::{assert_lawful_action, assert_lawful_detector, assert_lawful_memory};

/// Feeds one series to a detector, in one frame. The verdict has a score for each sample.
pub fn detect<D: Detector>(settings: &str, samples: &[(UnixMs, f64)]) -> Result<Verdict, Error> {
    detect_in_frames::<D>(settings, samples, &[])
}

/// Feeds one series to a detector like [`detect`], but ends a frame before each sample index in
/// `ends`. The indices in the verdict are those of the whole series. The verdict must be equal for
/// all frames.
pub fn detect_in_frames<D: Detector>(
    settings: &str,
    samples: &[(UnixMs, f64)],
    ends: &[usize],
) -> Result<Verdict, Error> {
    in_frames::<D>(settings, samples, ends, |_| Ok(()))
}

/// Feeds one series to a detector like [`detect`], but restarts it before each sample index in
/// `restarts`. A restart saves the detector, opens it anew and restores it. The verdict must be
/// equal to that of [`detect`].
pub fn detect_over_restarts<D: StatefulDetector>(
    settings: &str,
    samples: &[(UnixMs, f64)],
    restarts: &[usize],
) -> Result<Verdict, Error> {
    in_frames::<D>(settings, samples, restarts, |watch| {
        let saved = watch.save(Some(0))?;
        *watch = Watch::open(settings)?;
        watch.restore(Some(the_series()), D::about().version, &saved)
    })
}

fn the_series() -> detector_wit::Series {
    detector_wit::Series {
        id: 0,
        labels: Vec::new(),
    }
}

fn in_frames<D: Detector>(
    settings: &str,
    samples: &[(UnixMs, f64)],
    ends: &[usize],
    between: impl Fn(&mut Watch<D>) -> Result<(), Error>,
) -> Result<Verdict, Error> {
    let mut watch = Watch::<D>::open(settings)?;
    let mut verdict = Verdict {
        scores: Vec::new(),
        findings: Vec::new(),
    };
    let mut ends = ends.to_vec();
    ends.push(samples.len());
    ends.sort_unstable();
    let mut begin = 0;
    for (index, end) in ends.into_iter().enumerate() {
        if index > 0 {
            between(&mut watch)?;
        }
        let part = &samples[begin..end.min(samples.len())];
        let frame = Frame {
            now: part.last().map_or(0, |(at, _)| *at),
            opened: if index == 0 {
                vec![the_series()]
            } else {
                Vec::new()
            },
            closed: Vec::new(),
            ids: vec![0; part.len()],
            at: part.iter().map(|(at, _)| *at).collect(),
            values: part.iter().map(|(_, value)| *value).collect(),
        };
        let told = watch.observe(&frame, true)?;
        verdict.scores.extend(told.scores);
        let offset = begin as u32;
        verdict
            .findings
            .extend(told.findings.into_iter().map(|f| Finding {
                sample: f.sample + offset,
                ..f
            }));
        begin = end.min(samples.len());
    }
    Ok(verdict)
}

/// Returns samples that are one second apart.
pub fn every_second(values: impl IntoIterator<Item = f64>) -> Vec<(UnixMs, f64)> {
    (0..).map(|i| i * 1000).zip(values).collect()
}

/// Input of an action, in the host's JSON shapes.
#[derive(Clone, Debug)]
pub struct Case {
    /// Target of the incident.
    pub target: Option<Target>,
    /// State of the target, or null.
    pub snapshot: Value,
    /// Array of findings.
    pub findings: Value,
    /// Diagnosis of the analyst, or null.
    pub diagnosis: Value,
    /// Parameters of the action.
    pub parameters: Value,
}

/// Returns an incident about `default/shop/Deployment/web`, without other facts and without
/// parameters.
impl Default for Case {
    fn default() -> Self {
        Self {
            target: Some(Target {
                cluster: "default".to_owned(),
                namespace: "shop".to_owned(),
                kind: "Deployment".to_owned(),
                name: "web".to_owned(),
            }),
            snapshot: Value::Null,
            findings: Value::Array(Vec::new()),
            diagnosis: Value::Null,
            parameters: Value::Object(serde_json::Map::new()),
        }
    }
}

/// Result of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Operations that the action asked for, in order.
    pub operations: Vec<Operation>,
    /// Last step: `finished` or `gave-up`.
    pub end: Step,
}

impl Case {
    /// Runs an action to its end. `world` returns the outcome of each operation. Waits are over at
    /// once.
    pub fn play<A: Action>(
        &self,
        mut world: impl FnMut(&Operation) -> Outcome,
    ) -> Result<Played, Error> {
        let incident = action_wit::Incident {
            id: "inc-0123456789abcdef".to_owned(),
            target: self.target.clone(),
            snapshot: self.snapshot.to_string(),
            findings: self.findings.to_string(),
            diagnosis: self.diagnosis.to_string(),
        };
        let mut run = Run::open::<A>(&incident, &self.parameters.to_string())?;
        let (mut now, mut last) = (0, Outcome::Begin);
        let mut operations = Vec::new();
        for _ in 0..1000 {
            last = match run.next(now, last)? {
                Step::Perform(operation) => {
                    let outcome = world(&operation);
                    operations.push(operation);
                    outcome
                }
                Step::WaitMs(ms) => {
                    now += i64::from(ms);
                    Outcome::Waited
                }
                end @ (Step::Finished(_) | Step::GaveUp(_)) => {
                    return Ok(Played { operations, end });
                }
            };
        }
        Err(Error::Failed("the action does not end".to_owned()))
    }
}

/// Returns the outcome of a world in which every operation is done and returns nothing.
pub fn all_done(_: &Operation) -> Outcome {
    Outcome::Done("null".to_owned())
}
