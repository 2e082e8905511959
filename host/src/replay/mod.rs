//! A decision once more from its record: what was detected, diagnosed and allowed follows from what
//! is on record of it, on any machine. Or with another detector, model or policy, and then what
//! differs is shown.

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
use crate::plugin::PluginConfig;

/// With what a decision is decided again. The default is what is on record.
#[derive(Debug, Default)]
pub struct Instead {
    /// These detectors: files.
    pub detectors: Vec<PathBuf>,
    /// This analyst.
    pub analyst: Option<Analyst>,
    /// This policy.
    pub policy: Option<Policy>,
}

/// Who diagnoses instead of who did.
#[derive(Debug)]
pub enum Analyst {
    /// The rules.
    Rules,
    /// A model, asked anew.
    Model(OllamaConfig),
}

/// Where plugins are looked for by their digest.
#[derive(Debug)]
pub struct Places {
    /// Folders with components, at any depth.
    pub folders: Vec<PathBuf>,
    /// Limits, cache and compiler of the components. Its folder is not used.
    pub config: PluginConfig,
}

/// A part of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// What a detector said of a series.
    Detect,
    /// What the analyst proposed.
    Diagnose,
    /// What the guard said.
    Guard,
}

/// How it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Came {
    /// The same, to the byte.
    Same,
    /// Something else.
    Different {
        /// What is on record.
        was: String,
        /// What it is now.
        is: String,
    },
    /// It can't be told.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Came {
    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }

    /// Compares what is written.
    fn of(was: String, is: String) -> Self {
        if was == is {
            Self::Same
        } else {
            Self::Different { was, is }
        }
    }
}

/// One step, decided again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which part.
    pub stage: Stage,
    /// Of what.
    pub what: String,
    /// How it compares.
    #[serde(flatten)]
    pub came: Came,
}

/// Why nothing can be decided again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Something else, with the remedy.
    #[error("{0}")]
    Wrong(String),
}

/// Decides again, step by step in the order in which it was decided. `events` are those of one
/// decision, oldest first.
///
/// # Errors
/// There are none, or what is to be used instead can't be.
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

/// JSON to compare and to show. What we write can always be written.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
