//! Replays a decision from its record. The findings, the diagnosis and the verdicts of the guard
//! follow from the recorded inputs, on any machine. A replay with another detector, model or policy
//! shows the differences.

mod component;
mod detect;
mod diagnose;
mod guard;

use std::path::PathBuf;

use serde::Serialize;

use crate::diagnose::OllamaConfig;
use crate::domain::Decision;
use crate::guard::Policy;
use crate::history::{HistoryError, Input, RecordedEvent};

/// Replacements for a replay. The default uses the recorded parts.
#[derive(Debug, Default)]
pub struct Instead {
    /// Files of other detectors.
    pub detectors: Vec<PathBuf>,
    /// Another analyst.
    pub analyst: Option<Analyst>,
    /// Another policy.
    pub policy: Option<Policy>,
}

/// Analyst that replaces the recorded one.
#[derive(Debug)]
pub enum Analyst {
    /// The rules.
    Rules,
    /// A model that is asked anew.
    Model(OllamaConfig),
}

/// Places to search for plugins by their digest.
#[derive(Debug)]
pub struct Places {
    /// Folders with components, which may be in nested folders.
    pub folders: Vec<PathBuf>,
    /// Program that compiles the components.
    pub compiler: Option<PathBuf>,
}

/// Stage of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Finding of a detector on a series.
    Detect,
    /// Proposal of the analyst.
    Diagnose,
    /// Verdict of the guard.
    Guard,
}

/// Result of the comparison with the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Came {
    /// Result that equals the record byte by byte.
    Same,
    /// Result that differs from the record.
    Different {
        /// Recorded result.
        was: String,
        /// Result of the replay.
        is: String,
    },
    /// Result that cannot be determined.
    Unknown {
        /// Reason.
        why: String,
    },
}

impl Came {
    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }

    /// Compares the texts of both results.
    fn of(was: String, is: String) -> Self {
        if was == is {
            Self::Same
        } else {
            Self::Different { was, is }
        }
    }
}

/// One replayed step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Stage of the step.
    pub stage: Stage,
    /// Subject of the step.
    pub what: String,
    /// Result of the comparison.
    #[serde(flatten)]
    pub came: Came,
}

/// Reason why a replay fails.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// History that cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Another cause, with the remedy.
    #[error("{0}")]
    Wrong(String),
}

/// Replays the steps of one decision in their original order. `events` are the events of the
/// decision, oldest first.
///
/// # Errors
/// Returns an error if there are no events, or if a replacement cannot be used.
pub async fn replay(
    events: &[RecordedEvent],
    instead: &Instead,
    places: &Places,
) -> Result<Vec<Step>, ReplayError> {
    let Some(first) = events.first() else {
        return Err(ReplayError::Wrong("there is no such decision".to_owned()));
    };
    let mut inputs = Vec::new();
    for event in events {
        if let Some(input) = &event.input {
            let input: Input = serde_json::from_value(input.clone()).map_err(|error| {
                ReplayError::Wrong(format!(
                    "what event {} was decided on can't be read: {error}",
                    event.seq
                ))
            })?;
            inputs.push((event, input));
        }
    }
    let mut steps = Vec::new();
    let basis = inputs.iter().find_map(|(event, input)| match input {
        Input::Diagnosis(basis) => Some((&event.decision, basis)),
        Input::Guard(_) => None,
    });
    match basis {
        Some((decision, basis)) => {
            steps.extend(detect::again(basis, instead, places).await?);
            steps.push(diagnose::again(decision, basis, instead).await?);
        }
        None => {
            let why = without_basis(&first.decision);
            for stage in [Stage::Detect, Stage::Diagnose] {
                steps.push(Step {
                    stage,
                    what: first.decision.solution.clone(),
                    came: Came::unknown(&*why),
                });
            }
        }
    }
    steps.extend(inputs.iter().filter_map(|(event, input)| match input {
        Input::Guard(asked) => Some(guard::again(event, asked, instead)),
        Input::Diagnosis(_) => None,
    }));
    Ok(steps)
}

fn without_basis(decision: &Decision) -> String {
    match decision.provenance.source.as_str() {
        crate::domain::Provenance::API => format!("{} asked for it", decision.provenance.by),
        crate::domain::Provenance::TOPIC => "someone else wrote it to the topic".to_owned(),
        _ => {
            "what the analyst was given is not on record: it was too much to travel, or the record is older".to_owned()
        }
    }
}

/// Serializes a value as JSON for comparison and display. Our own types never fail to serialize.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
