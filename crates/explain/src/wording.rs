//! Step 8: the explanation in sentences.
//!
//! Each sentence is true by itself: a value is "above" its range only if it is, and a part that
//! does not exist is not mentioned. Numbers are those of the evidence, so a model may choose and
//! phrase.

use anomalyzer_domain::{Direction, Meaning, one_line};
use anomalyzer_world::Change;

use crate::input::Observation;
use crate::numbers::{capital, clock, number, pair, percent};
use crate::output::{Group, RootLoss};
use crate::rank::Candidate;
use crate::round::Round;

/// Maximum number of names in one sentence.
const MAX_NAMES: usize = 3;

/// Maximum length of a value from outside in a sentence, in characters.
const MAX_VALUE_CHARS: usize = 60;

/// Returns the explanation of a group with a loss.
pub fn wording(round: &Round, root: &Candidate, group: &Group) -> String {
    let mut sentences = vec![loss_sentence(round, group)];
    sentences.extend(callees_sentence(round, root));
    sentences.extend(
        group
            .members
            .iter()
            .filter(|member| member.target != group.root)
            .take(MAX_NAMES)
            .filter_map(|member| {
                let share = member.share?;
                Some(format!(
                    "It explains {} of the loss of `{}`.",
                    percent(share),
                    member.target.name
                ))
            }),
    );
    let causes = group.evidence.iter().filter(|item| item.family.is_some());
    sentences.extend(
        causes
            .take(MAX_NAMES)
            .map(|item| format!("Evidence: {}.", item.text)),
    );
    if let Some(suspect) = &group.change {
        sentences.push(format!("{}.", capital(&changed(&suspect.change))));
    }
    if let Some(runner) = group.runners_up.first().filter(|runner| runner.share > 0.0) {
        sentences.push(format!(
            "Runner-up: `{}` {}.",
            runner.entity.name,
            percent(runner.share)
        ));
    }
    if !group.guessed_calls.is_empty() {
        let calls = group.guessed_calls.iter().take(MAX_NAMES);
        let calls: Vec<String> = calls
            .map(|call| format!("`{}` to `{}`", call.from.name, call.to.name))
            .collect();
        sentences.push(format!(
            "Guessed, as no source reports it: a call from {}.",
            calls.join(", ")
        ));
    }
    sentences.extend(not_seen_sentence(group));
    sentences.join(" ")
}

/// Returns the explanation of an incident that is its own root.
pub fn own_target_wording(group: &Group) -> String {
    let mut sentences = vec![format!(
        "`{}` has no loss to divide; its own evidence counts.",
        group.root.name
    )];
    let items = group.evidence.iter().take(MAX_NAMES);
    sentences.extend(items.map(|item| format!("Evidence: {}.", item.text)));
    if let Some(suspect) = &group.change {
        sentences.push(format!("{}.", capital(&changed(&suspect.change))));
    }
    sentences.join(" ")
}

fn loss_sentence(round: &Round, group: &Group) -> String {
    let since = clock(round.onset);
    let share = group.share.unwrap_or(0.0);
    let losses: Vec<String> = group
        .losses
        .iter()
        .map(|RootLoss { meaning, own, .. }| quantity(*meaning, *own))
        .collect();
    let targets: Vec<String> = group
        .members
        .iter()
        .take(MAX_NAMES)
        .map(|member| format!("`{}`", member.target.name))
        .collect();
    if losses.is_empty() {
        return format!(
            "`{}` shows a cause of its own since {since}.",
            group.root.name
        );
    }
    format!(
        "`{}` lost {} of its own beyond its usual range since {since}, {} of the own losses that reach {}.",
        group.root.name,
        losses.join(" and "),
        percent(share),
        targets.join(", ")
    )
}

/// Returns the sentence about the loss of the root's callees, if it has callees with series.
fn callees_sentence(round: &Round, root: &Candidate) -> Option<String> {
    let parts: Vec<String> = round
        .sides
        .iter()
        .filter(|side| !side.own.carriers.of(root.node).is_empty() && side.own.own[root.node] > 0.0)
        .map(|side| {
            let flows = side.own.carriers.of(root.node).iter();
            let lost: f64 = flows
                .map(|flow| flow.share * side.own.total[flow.callee])
                .sum();
            quantity(side.own.losses.meaning, lost)
        })
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "Its callees account for {} of its loss.",
            parts.join(" and ")
        )
    })
}

fn not_seen_sentence(group: &Group) -> Option<String> {
    let gaps: Vec<String> = group
        .not_seen
        .iter()
        .take(MAX_NAMES)
        .map(|gap| format!("`{}` ({})", gap.entity.name, gap.reason.words()))
        .collect();
    if gaps.is_empty() {
        return None;
    }
    let more = group.not_seen.len().saturating_sub(MAX_NAMES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!("Not seen: {}{more}.", gaps.join(", ")))
}

/// Describes a change: "revision changed 09:58: 1.8 → 1.9".
pub fn changed(change: &Change) -> String {
    let value =
        |value: &Option<String>| value.as_ref().map(|value| one_line(value, MAX_VALUE_CHARS));
    let values = match (value(&change.from), value(&change.to)) {
        (Some(from), Some(to)) => format!(": {from} → {to}"),
        (None, Some(to)) => format!(": now {to}"),
        (Some(from), None) => format!(": was {from}"),
        (None, None) => String::new(),
    };
    let by = value(&change.by).map_or_else(String::new, |by| format!(" by {by}"));
    format!(
        "{} of `{}` changed {}{by}{values}",
        change.kind.word(),
        change.entity.name,
        clock(change.at)
    )
}

/// Describes a finding whose value is outside of its expected range. Returns `None` for any other
/// finding: nothing can be said about it that is surely true.
pub fn deviation(finding: &Observation) -> Option<String> {
    let (value, range) = (finding.observed?, finding.expected?);
    let name = word(finding.meaning);
    let says = |word: &str, bound: f64| {
        let (value, bound) = pair(value, bound);
        Some(format!("{name} {value} is {word} {bound}"))
    };
    match (range.low, range.high) {
        (_, Some(high)) if value > high && finding.direction != Direction::Below => {
            says("above", high)
        }
        (Some(low), _) if value < low && finding.direction != Direction::Above => {
            says("below", low)
        }
        _ => None,
    }
}

fn word(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Latency => "latency",
        Meaning::Traffic => "traffic",
        Meaning::Errors => "errors",
        Meaning::Saturation => "saturation",
        Meaning::Memory => "memory",
        Meaning::Coverage => "coverage",
        Meaning::Other => "value",
    }
}

/// Writes a loss with its unit.
pub fn quantity(meaning: Meaning, loss: f64) -> String {
    if meaning == Meaning::Errors {
        format!("{} failed requests", number(loss))
    } else {
        format!("{} s", number(loss))
    }
}
