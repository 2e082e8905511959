//! Summaries of what the reads returned, in a few lines.

use std::collections::BTreeMap;

use anomalyzer_plugin_sdk::serde_json::from_str;
use anomalyzer_plugin_sdk::{LogLines, Operation, Outcome, Pod, Snapshot, figure, in_words};
use serde::Deserialize;

const MOST_PODS: usize = 10;
const MOST_EVENTS: usize = 5;
const MOST_SERIES: usize = 5;

/// Summarises the answer to a read, or says why there is none.
pub(crate) fn of(operation: &Operation, outcome: &Outcome) -> String {
    let answer = match outcome {
        Outcome::Done(answer) => answer,
        Outcome::Denied(why) => return format!("{} was denied: {why}", in_words(operation)),
        Outcome::Failed(why) | Outcome::InDoubt(why) => {
            return format!("{} failed: {why}", in_words(operation));
        }
        Outcome::Begin | Outcome::Waited => return format!("{} was not done", in_words(operation)),
    };
    match operation {
        Operation::Inspect(target) => match from_str::<Option<Snapshot>>(answer) {
            Ok(Some(snapshot)) => format!("{target}: {}", state(&snapshot)),
            _ => format!("{target}: nothing is known"),
        },
        Operation::ReadLogs(_) => format!("log: {}", LogLines::read(answer)),
        Operation::Query(query) => format!("{query}: {}", series(answer)),
        other => in_words(other),
    }
}

fn state(snapshot: &Snapshot) -> String {
    let mut first = match snapshot.replicas {
        Some(replicas) => format!("{} of {} replicas ready", replicas.ready, replicas.desired),
        None => "it has no replicas".to_owned(),
    };
    if snapshot.rolling_out {
        first.push_str(", a rollout is under way");
    }
    let unwell = snapshot
        .pods
        .iter()
        .filter(|pod| !pod.ready || pod.restarts > 0);
    let pods = unwell
        .take(MOST_PODS)
        .map(|pod| format!("\n  {}", pod_in_words(pod)));
    let newest = snapshot.events.len().saturating_sub(MOST_EVENTS);
    let events = snapshot.events[newest..]
        .iter()
        .map(|event| format!("\n  event: {event}"));
    first.extend(pods.chain(events));
    first
}

fn pod_in_words(pod: &Pod) -> String {
    let ready = if pod.ready { "ready" } else { "not ready" };
    let reason = pod
        .reason
        .as_ref()
        .map(|reason| format!(", {reason}"))
        .unwrap_or_default();
    format!(
        "{}: {}, {ready}, restarted {} times{reason}",
        pod.name, pod.phase, pod.restarts
    )
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    series: Vec<Series>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Series {
    labels: BTreeMap<String, String>,
    /// Time and value of each sample. A value that is not a finite number (NaN, infinite) is null.
    samples: Vec<(i64, Option<f64>)>,
}

fn series(answer: &str) -> String {
    let Ok(Some(answer)) = from_str::<Option<Answer>>(answer) else {
        return "an answer that can't be read".to_owned();
    };
    let newest = answer.series.iter().take(MOST_SERIES).map(|series| {
        let labels = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect::<Vec<_>>();
        let value = series.samples.last().and_then(|(_, value)| *value);
        format!(
            "{{{}}} {}",
            labels.join(", "),
            value.map_or_else(|| "no value".to_owned(), figure)
        )
    });
    let newest = newest.collect::<Vec<_>>().join("; ");
    let more = if answer.series.len() > MOST_SERIES {
        "; …"
    } else {
        ""
    };
    match answer.series.len() {
        0 => "no series".to_owned(),
        count => format!("{count} series: {newest}{more}"),
    }
}
