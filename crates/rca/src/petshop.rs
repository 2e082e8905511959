//! Loader of PetShop (Hardt et al., CLeaR 2024): issues of an application on AWS.
//!
//! A scenario is a folder with `graph.csv`, perhaps `noissue/metrics.csv`, and folders `issue_N` at
//! any depth. A sample stamped `t` covers five minutes from `t` on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer_domain::{Meaning, Target};
use anomalyzer_explain::{Measure, Symptoms, Usual, Window};
use serde::Deserialize;

use crate::case::{Case, incident};
use crate::error::RcaError;
use crate::series::{Series, usual};
use crate::table::Table;

/// Seconds that a sample covers.
pub const SAMPLE_SECONDS: i64 = 300;

/// Seconds from the alarm to the question.
pub const DELAY_SECONDS: i64 = 600;

/// Maximum depth of folders below a scenario.
const MAX_DEPTH: usize = 3;

/// Series of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeSeries {
    pub latency: Series,
    pub requests: Series,
    /// Share of failed requests: one minus the availability.
    pub errors: Series,
}

impl NodeSeries {
    fn of(&self, meaning: Meaning) -> &Series {
        if meaning == Meaning::Errors {
            &self.errors
        } else {
            &self.latency
        }
    }
}

/// Metrics of a file.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub nodes: BTreeMap<String, NodeSeries>,
    pub times: BTreeSet<i64>,
}

/// Usual values of each node.
pub type Reference = BTreeMap<(String, bool), Usual>;

/// Alarm of an issue.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub node: String,
    pub meaning: Meaning,
    pub at: i64,
}

/// Scenario: a graph and its issues.
pub struct Scenario {
    pub name: String,
    pub graph: Vec<(Target, Target)>,
    pub quiet: Option<Metrics>,
    pub issues: Vec<Issue>,
}

/// Recorded issue.
pub struct Issue {
    pub name: String,
    pub alarm: Alarm,
    pub root: String,
    pub command: String,
    pub metrics: Metrics,
}

#[derive(Deserialize)]
struct TargetFile {
    target: TargetOfFile,
    root_cause: RootOfFile,
    #[serde(default)]
    metadata: serde_json::Value,
}

#[derive(Deserialize)]
struct TargetOfFile {
    node: String,
    metric: String,
    timestamp: f64,
}

#[derive(Deserialize)]
struct RootOfFile {
    node: String,
}

/// Loads all scenarios of a folder; none if it holds no `graph.csv` one level below.
pub fn load(folder: &Path) -> Result<Vec<Scenario>, RcaError> {
    let mut scenarios = Vec::new();
    for path in folders(folder)? {
        if path.join("graph.csv").is_file() {
            scenarios.push(scenario(&path)?);
        }
    }
    Ok(scenarios)
}

/// Returns the cases of the issues. A scenario without a quiet recording uses those of the others.
pub fn cases(scenarios: &[Scenario]) -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in scenarios {
        let quiet: Vec<&Metrics> = match &scenario.quiet {
            Some(quiet) => vec![quiet],
            None => scenarios
                .iter()
                .filter_map(|other| other.quiet.as_ref())
                .collect(),
        };
        let reference = reference(&quiet, |_| true);
        for issue in &scenario.issues {
            let symptoms = symptoms(&issue.metrics, &issue.alarm, &reference);
            cases.push(Case {
                name: format!("{}/{}", scenario.name, issue.name),
                fault: format!("{}: {}", word(issue.alarm.meaning), issue.command),
                answer: Some(key(&issue.root)),
                calls: scenario.graph.clone(),
                runs_on: Vec::new(),
                symptoms,
            });
        }
    }
    cases
}

/// Returns cases without a fault: alarms at times of the quiet recording, `count` of each kind,
/// evenly spread. The usual values come from the rest of the recording.
pub fn quiet_cases(scenarios: &[Scenario], count: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in scenarios {
        let (Some(quiet), Some(issue)) = (&scenario.quiet, scenario.issues.first()) else {
            continue;
        };
        let times: Vec<i64> = quiet.times.iter().copied().collect();
        // The first and the last samples have no neighbours.
        let Some(usable) = times.len().checked_sub(8).filter(|usable| *usable >= count) else {
            continue;
        };
        for place in 0..count {
            let at = times[4 + place * usable / count] + SAMPLE_SECONDS / 2;
            let away = |time: i64| (time - at).abs() > 12 * SAMPLE_SECONDS;
            let reference = reference(&[quiet], away);
            for meaning in [Meaning::Latency, Meaning::Errors] {
                let alarm = Alarm {
                    node: issue.alarm.node.clone(),
                    meaning,
                    at,
                };
                cases.push(Case {
                    name: format!("{}/quiet at {at}, {}", scenario.name, word(meaning)),
                    fault: "none".to_owned(),
                    answer: None,
                    calls: scenario.graph.clone(),
                    runs_on: Vec::new(),
                    symptoms: symptoms(quiet, &alarm, &reference),
                });
            }
        }
    }
    cases
}

/// Returns the key of a node.
pub fn key(node: &str) -> Target {
    // A slash separates the parts of a key, and names of nodes may be URLs.
    Target::new("petshop", "Service", &node.replace('/', "∕"))
}

fn word(meaning: Meaning) -> &'static str {
    if meaning == Meaning::Errors {
        "availability"
    } else {
        "latency"
    }
}

fn scenario(path: &Path) -> Result<Scenario, RcaError> {
    let quiet = path.join("noissue").join("metrics.csv");
    let mut issues = Vec::new();
    for folder in issue_folders(path, MAX_DEPTH)? {
        issues.push(issue(path, &folder)?);
    }
    Ok(Scenario {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        graph: graph(&path.join("graph.csv"))?,
        quiet: if quiet.is_file() {
            Some(metrics(&quiet)?)
        } else {
            None
        },
        issues,
    })
}

fn issue(scenario: &Path, folder: &Path) -> Result<Issue, RcaError> {
    let path = folder.join("target.json");
    let text = fs::read_to_string(&path).map_err(|error| RcaError::file(&path, error))?;
    let file: TargetFile =
        serde_json::from_str(&text).map_err(|error| RcaError::file(&path, error))?;
    let meaning = match file.target.metric.as_str() {
        "latency" => Meaning::Latency,
        "availability" => Meaning::Errors,
        other => {
            let reason = format!("the metric `{other}` is not known: latency and availability are");
            return Err(RcaError::file(&path, reason));
        }
    };
    let command = file
        .metadata
        .pointer("/reproducibility/command")
        .and_then(|value| value.as_str());
    let name = folder.strip_prefix(scenario).unwrap_or(folder);
    Ok(Issue {
        name: name.to_string_lossy().into_owned(),
        alarm: Alarm {
            node: file.target.node,
            meaning,
            at: file.target.timestamp as i64,
        },
        root: file.root_cause.node,
        command: command.unwrap_or_default().to_owned(),
        metrics: metrics(&folder.join("metrics.csv"))?,
    })
}

fn issue_folders(path: &Path, depth: usize) -> Result<Vec<PathBuf>, RcaError> {
    let mut found = Vec::new();
    for folder in folders(path)? {
        if folder.join("target.json").is_file() {
            found.push(folder);
        } else if depth > 0 {
            found.extend(issue_folders(&folder, depth - 1)?);
        }
    }
    Ok(found)
}

/// Returns the folders below a folder, by name.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>, RcaError> {
    let entries = fs::read_dir(path).map_err(|error| RcaError::file(path, error))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| RcaError::file(path, error))?;
        if entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn graph(path: &Path) -> Result<Vec<(Target, Target)>, RcaError> {
    let table = Table::read(path)?;
    let (header, rows) = table.with_header();
    let mut calls = Vec::new();
    for row in rows {
        let from = key(row.fields.get(0).unwrap_or_default());
        for (column, name) in header.iter().enumerate().skip(1) {
            if table.number(row, column)?.unwrap_or(0.0) != 0.0 {
                calls.push((from.clone(), key(name)));
            }
        }
    }
    Ok(calls)
}

fn metrics(path: &Path) -> Result<Metrics, RcaError> {
    let table = Table::read(path)?;
    let [nodes, names, statistics, rows @ ..] = table.rows.as_slice() else {
        return Err(RcaError::file(
            path,
            "three rows with node, metric and statistic are missing",
        ));
    };
    let mut metrics = Metrics::default();
    // A fourth row names the index column only.
    let is_sample = |text: &str| text.trim().parse::<f64>().is_ok();
    for row in rows
        .iter()
        .filter(|row| is_sample(row.fields.get(0).unwrap_or_default()))
    {
        let time = table.seconds(row, 0)?;
        metrics.times.insert(time);
        for column in 1..nodes.fields.len() {
            let field =
                |of: &crate::table::Row| of.fields.get(column).unwrap_or_default().to_owned();
            let (name, statistic) = (field(names), field(statistics));
            let wanted = matches!(
                (name.as_str(), statistic.as_str()),
                ("latency" | "availability", "Average") | ("requests", "Sum")
            );
            if !wanted {
                continue;
            }
            let node = metrics.nodes.entry(field(nodes)).or_default();
            let Some(value) = table.number(row, column)? else {
                continue;
            };
            match name.as_str() {
                "latency" => node.latency.insert(time, value),
                "requests" => node.requests.insert(time, value),
                _ => node.errors.insert(time, 1.0 - value / 100.0),
            };
        }
    }
    Ok(metrics)
}

fn reference(quiet: &[&Metrics], is_used: impl Fn(i64) -> bool) -> Reference {
    let mut reference = Reference::new();
    let names: BTreeSet<&String> = quiet
        .iter()
        .flat_map(|metrics| metrics.nodes.keys())
        .collect();
    for name in names {
        for meaning in [Meaning::Latency, Meaning::Errors] {
            let series = quiet
                .iter()
                .filter_map(|metrics| Some(metrics.nodes.get(name)?.of(meaning)));
            let values = series.flatten().filter(|(time, _)| is_used(**time));
            if let Some(usual) = usual(values.map(|(_, value)| *value)) {
                reference.insert((name.clone(), meaning == Meaning::Errors), usual);
            }
        }
    }
    reference
}

/// Returns the symptoms that are known [`DELAY_SECONDS`] after an alarm.
fn symptoms(metrics: &Metrics, alarm: &Alarm, reference: &Reference) -> Symptoms {
    let asked = alarm.at + DELAY_SECONDS;
    let ended = |time: i64| time + SAMPLE_SECONDS;
    let windows: Vec<i64> = metrics
        .times
        .iter()
        .copied()
        .filter(|time| ended(*time) > alarm.at && ended(*time) <= asked)
        .collect();
    let before: Vec<i64> = metrics
        .times
        .iter()
        .copied()
        .filter(|time| ended(*time) <= alarm.at && ended(*time) > alarm.at - 4 * SAMPLE_SECONDS)
        .collect();
    let mut measures = Vec::new();
    for (name, node) in &metrics.nodes {
        for meaning in [Meaning::Latency, Meaning::Errors] {
            let newest = |series: &Series| {
                before
                    .iter()
                    .rev()
                    .find_map(|time| series.get(time))
                    .copied()
            };
            let series = node.of(meaning);
            let window = |time: &i64| Window {
                value: series.get(time).copied(),
                requests: node.requests.get(time).copied(),
            };
            measures.push(Measure {
                entity: key(name),
                meaning,
                usual: reference
                    .get(&(name.clone(), meaning == Meaning::Errors))
                    .copied(),
                before: newest(series),
                requests_before: newest(&node.requests),
                windows: windows.iter().map(window).collect(),
            });
        }
    }
    let target = key(&alarm.node);
    let of_target =
        |measure: &&Measure| measure.entity == target && measure.meaning == alarm.meaning;
    let measured = measures.iter().find(of_target);
    let observed = measured.and_then(|measure| measure.windows.iter().rev().find_map(|w| w.value));
    let usual = measured.and_then(|measure| measure.usual);
    Symptoms {
        at: asked * 1000,
        windows: windows.len(),
        incidents: vec![incident(
            &target,
            alarm.meaning,
            alarm.at * 1000,
            usual,
            observed,
        )],
        measures,
        ..Symptoms::default()
    }
}
