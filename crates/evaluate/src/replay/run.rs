//! Replays the steps of a decision, one after another.

use super::error::ReplayError;
use super::options::{Instead, PluginSource};
use super::step::{Came, Stage, Step};
use super::{detect, diagnose, guard};
use anomalyzer_domain::Decision;
use anomalyzer_history::{Input, RecordedEvent};

/// Replays the steps of one decision in their original order. `events` are the events of the
/// decision, oldest first.
///
/// # Errors
/// Returns an error if there are no events, or if a replacement cannot be used.
pub async fn replay(
    events: &[RecordedEvent],
    instead: &Instead,
    source: &PluginSource,
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
            steps.extend(detect::again(basis, instead, source).await?);
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
        anomalyzer_domain::Provenance::API => format!("{} asked for it", decision.provenance.by),
        anomalyzer_domain::Provenance::TOPIC => "someone else wrote it to the topic".to_owned(),
        _ => {
            "what the analyst was given is not on record: it was too much to travel, or the record is older".to_owned()
        }
    }
}
