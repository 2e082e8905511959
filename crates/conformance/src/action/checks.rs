//! Checks of an action.

use serde_json::{Value, json};

use super::simulate::{Played, Stage};
use super::world::{Ending, answer};
use super::{cases, speed};
use crate::report::{Failure, Report, is_guest_error};
use crate::{Trial, settings};
use anomalyzer_plugin_host::{ActionIncident, ActionOutcome, ActionStep, PluginInfo, Plugins};

/// Maximum number of steps of a run that are tried one by one.
const MAX_STEPS_TRIED: usize = 12;

pub(crate) async fn examine(plugins: &Plugins, plugin: &PluginInfo, trial: &Trial) -> Report {
    let mut report = Report::new(plugin);
    let mut stage = Stage::new(plugins, plugin, &trial.settings);
    let opened = match stage.open(&stage.usual(), &trial.settings).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::of(
            &error,
            format!("opening it with {}", trial.settings),
        )),
    };
    if !report.check(
        "opens",
        "it opens with the parameters that it is tried with",
        opened,
    ) {
        report
            .notes
            .push("nothing else was tried: it does not open".to_owned());
        return report;
    }
    let outcome = wrong_parameters(&stage, &plugin.settings, &trial.settings).await;
    report.check(
        "wrong-settings",
        "parameters that are wrong are refused as `invalid`, with a word why",
        outcome,
    );
    let outcome = same_twice(&mut stage).await;
    report.check(
        "same-twice",
        "two runs that are told the same say the same",
        outcome,
    );
    let outcome = every_outcome(&mut stage).await;
    report.check(
        "every-outcome",
        "done, denied, failed or in doubt, at any step: it comes to an end in time",
        outcome,
    );
    let outcome = odd_answers(&mut stage).await;
    report.check(
        "odd-answers",
        "answers that are null, empty, of another shape or huge do not trap it",
        outcome,
    );
    let outcome = odd_incidents(&mut stage).await;
    report.check(
        "odd-incidents",
        "incidents without target, snapshot, findings or with odd ones do not trap it",
        outcome,
    );
    report.check(
        "declared-needs",
        "it asks for nothing that it does not declare in its needs",
        stage.undeclared(),
    );
    report.check(
        "last-words",
        "it says in the end what it did, or why not",
        stage.without_message(),
    );
    if stage.asked() == 0 {
        report.notes.push(
            "it asked for no operation in any of its runs: give parameters with --settings by which it does something"
                .to_owned(),
        );
    }
    speed::measure(&stage, &mut report).await;
    report
}

async fn wrong_parameters(stage: &Stage<'_>, schema: &Value, right: &Value) -> Result<(), Failure> {
    for (how, wrong) in settings::wrong(schema, right) {
        settings::judge(stage.open(&stage.usual(), &wrong).await.map(drop), &how)?;
    }
    Ok(())
}

/// Checks that two runs with equal outcomes take equal steps. The comparison covers each step,
/// because after a crash the host opens the action again and replays the recorded outcomes to it.
async fn same_twice(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let remedy = "decide by the incident, the parameters and the outcomes only: no clock but `now`, no randomness, no order of a \
                  hash map";
    for ending in Ending::ALL {
        let world = |_: usize, operation: &_| answer(operation, ending);
        let place = format!("every operation ends as {ending}");
        let one = stage
            .play(&stage.usual(), world)
            .await
            .map_err(|error| Failure::of(&error, &place))?;
        let other = stage
            .play(&stage.usual(), world)
            .await
            .map_err(|error| Failure::of(&error, &place))?;
        if let Some(step) = difference(&one, &other) {
            let text = |played: &Played| {
                played
                    .steps
                    .get(step)
                    .map_or("nothing".to_owned(), |step| format!("{step:?}"))
            };
            let found = format!(
                "the runs part at step {}: {} and {}",
                step + 1,
                text(&one),
                text(&other)
            );
            return Err(Failure::new(found, place, remedy));
        }
    }
    Ok(())
}

fn difference(one: &Played, other: &Played) -> Option<usize> {
    (0..one.steps.len().max(other.steps.len()))
        .find(|&step| one.steps.get(step) != other.steps.get(step))
}

async fn every_outcome(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let all_done = ends(stage, "every operation is done", |_, operation| {
        answer(operation, Ending::Done)
    })
    .await?;
    for ending in Ending::ALL {
        ends(
            stage,
            &format!("every operation ends as {ending}"),
            |_, operation| answer(operation, ending),
        )
        .await?;
        for at in 0..all_done.operations().min(MAX_STEPS_TRIED) {
            let place = format!("operation {} ends as {ending}, the others are done", at + 1);
            let world = |index, operation: &_| {
                answer(operation, if index == at { ending } else { Ending::Done })
            };
            ends(stage, &place, world).await?;
        }
    }
    Ok(())
}

async fn odd_answers(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let huge = json!({"lines": vec!["x".repeat(1000); 200], "series": [], "replicas": 1e300, "pods": vec![json!({}); 500]});
    let usual = stage.usual();
    let deep = (0..100).fold(json!(1), |inner, _| json!({ "in": inner }));
    for odd in [
        json!(null),
        json!({}),
        json!([]),
        json!(-1),
        json!("text \" \n \u{1}"),
        json!({"lines": null}),
        huge,
        deep,
    ] {
        let place = format!("every operation is done and returns {}", shortened(&odd));
        tolerates(stage, &usual, &place, |_, _| {
            ActionOutcome::Done(odd.clone())
        })
        .await?;
    }
    Ok(())
}

async fn odd_incidents(stage: &mut Stage<'_>) -> Result<(), Failure> {
    for (place, incident) in cases::odd(stage.kind()) {
        tolerates(stage, &incident, place, |_, operation| {
            answer(operation, Ending::Done)
        })
        .await?;
    }
    Ok(())
}

/// Plays an ordinary incident, which the action must bring to an end.
async fn ends(
    stage: &mut Stage<'_>,
    place: &str,
    world: impl FnMut(usize, &anomalyzer_domain::Operation) -> ActionOutcome,
) -> Result<Played, Failure> {
    let played = stage
        .play(&stage.usual(), world)
        .await
        .map_err(|error| Failure::of(&error, place))?;
    in_time(&played, place)?;
    Ok(played)
}

/// Plays an incident that the action may refuse, if it reports the refusal properly.
async fn tolerates(
    stage: &mut Stage<'_>,
    incident: &ActionIncident,
    place: &str,
    world: impl FnMut(usize, &anomalyzer_domain::Operation) -> ActionOutcome,
) -> Result<(), Failure> {
    match stage.play(incident, world).await {
        Ok(played) => in_time(&played, place),
        Err(error) if is_guest_error(&error) => Ok(()),
        Err(error) => Err(Failure::of(&error, place)),
    }
}

fn in_time(played: &Played, place: &str) -> Result<(), Failure> {
    let remedy =
        "end with `finished` or `gave-up`: the host stops it otherwise, and records that it failed";
    match &played.cut_short {
        None => Ok(()),
        Some(why) => {
            let last = played
                .steps
                .last()
                .map_or_else(String::new, |step: &ActionStep| {
                    format!(", the last step {step:?}")
                });
            Err(Failure::new(format!("{why}{last}"), place, remedy))
        }
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 60 {
        text
    } else {
        format!(
            "{}… ({} bytes)",
            &text[..text.floor_char_boundary(60)],
            text.len()
        )
    }
}
