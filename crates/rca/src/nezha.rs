//! Loader of Nezha (Yu et al., FSE 2023): days with faults of an application on Kubernetes.
//!
//! A day is a folder with a fault list and `metric/`. Metrics have a row for each minute. Usual
//! values are those before the fault, without the times of earlier faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer_domain::{Meaning, Target};
use anomalyzer_explain::{
    CallMeasure, LogPattern, Measure, Resource, ResourceKind, Symptoms, Usual, Window,
};
use serde::Deserialize;

use crate::case::{Case, incident};
use crate::error::RcaError;
use crate::petshop::folders;
use crate::series::{Series, usual, usual_of_disturbed};
use crate::table::Table;

/// Seconds from the alarm to the question: three samples of a minute.
pub const DELAY_SECONDS: i64 = 180;

/// Seconds that a sample covers.
const SAMPLE_SECONDS: i64 = 60;

/// Seconds after the start of a fault in which values are not usual. Faults last up to five
/// minutes, and a sample covers one.
const FAULT_SECONDS: i64 = 6 * SAMPLE_SECONDS;

/// Seconds before the alarm whose log lines are compared.
const LOG_SECONDS: i64 = 600;

/// Largest difference of two stamps of one minute, in seconds.
const JITTER_SECONDS: i64 = 5;

/// Number of minutes from which the usual calls of an edge are known.
const MIN_MINUTES: usize = 5;

/// Columns of a pod's file.
const LATENCY: &str = "PodServerLatencyP90(s)";
const RATE: &str = "PodWorkload(Ops)";
const RESOURCES: [(&str, ResourceKind); 2] = [
    ("CpuUsageRate(%)", ResourceKind::Cpu),
    ("MemoryUsageRate(%)", ResourceKind::Memory),
];

type Pair = (String, String);

#[derive(Clone, Debug, Deserialize)]
struct Fault {
    inject_timestamp: String,
    inject_pod: String,
    inject_type: String,
}

/// Day of a recording.
pub struct Day {
    name: String,
    entry: String,
    faults: Vec<(i64, Fault)>,
    /// Series by service and column.
    pods: BTreeMap<String, BTreeMap<String, Series>>,
    calls: BTreeSet<Pair>,
    runs_on: BTreeSet<Pair>,
    client: BTreeMap<Pair, Series>,
    server: BTreeMap<Pair, Series>,
    spans: BTreeMap<Pair, Series>,
    logs: BTreeMap<Pair, Series>,
}

/// Loads all days of a folder; none if it holds no fault list one level below.
pub fn load(folder: &Path) -> Result<Vec<Day>, RcaError> {
    let mut days = Vec::new();
    for path in folders(folder)? {
        if let Some(list) = fault_list(&path)? {
            days.push(day(&path, &list)?);
        }
    }
    Ok(days)
}

/// Returns the cases of all faults.
pub fn cases(days: &[Day]) -> Vec<Case> {
    days.iter()
        .flat_map(|day| day.faults.iter().map(|(at, fault)| day.case(*at, fault)))
        .collect()
}

fn fault_list(path: &Path) -> Result<Option<PathBuf>, RcaError> {
    let entries = fs::read_dir(path).map_err(|error| RcaError::file(path, error))?;
    let mut lists: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    lists.retain(|file| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with("fault_list.json"))
    });
    lists.sort();
    Ok(lists.into_iter().next())
}

fn day(path: &Path, list: &Path) -> Result<Day, RcaError> {
    let metric = path.join("metric");
    let mut day = Day {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        entry: String::new(),
        faults: faults(list)?,
        pods: pods(&metric)?,
        calls: BTreeSet::new(),
        runs_on: BTreeSet::new(),
        client: pair_series(&metric.join("source_50.csv"))?,
        server: pair_series(&metric.join("destination_50.csv"))?,
        spans: counted(&path.join("spans.csv"), 1, 2, 3)?,
        logs: counted(&path.join("logs.csv"), 1, 2, 3)?,
    };
    let services: BTreeSet<String> = day.pods.keys().cloned().collect();
    for (from, to) in pairs(&metric.join("dependency.csv"))? {
        // Nodes are known by their addresses.
        let is_node = to.chars().all(|c| c.is_ascii_digit() || c == '.');
        if is_node {
            &mut day.runs_on
        } else {
            &mut day.calls
        }
        .insert((from, to));
    }
    let traced = day
        .spans
        .keys()
        .filter(|(from, _)| !from.is_empty())
        .cloned();
    let known: Vec<Pair> = pairs(&path.join("edges.csv"))?
        .into_iter()
        .chain(traced)
        .collect();
    day.calls.extend(known);
    day.calls
        .retain(|(from, to)| !from.is_empty() && !to.is_empty() && from != "Source");
    day.entry = entry(&day, &services);
    Ok(day)
}

/// Returns the entry: the service that traces begin with, or else a service that calls and is not
/// called.
fn entry(day: &Day, services: &BTreeSet<String>) -> String {
    let begun = day.spans.iter().filter(|((from, _), _)| from.is_empty());
    let begun = begun.map(|((_, to), series)| (series.values().sum::<f64>(), to));
    if let Some((_, entry)) = begun.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1))) {
        return entry.clone();
    }
    let is_top = |name: &&String| {
        day.calls.iter().any(|(from, _)| from == *name)
            && day.calls.iter().all(|(_, to)| to != *name)
    };
    services.iter().find(is_top).cloned().unwrap_or_default()
}

fn faults(path: &Path) -> Result<Vec<(i64, Fault)>, RcaError> {
    let text = fs::read_to_string(path).map_err(|error| RcaError::file(path, error))?;
    let hours: BTreeMap<String, Vec<Fault>> =
        serde_json::from_str(&text).map_err(|error| RcaError::file(path, error))?;
    let mut faults = Vec::new();
    for fault in hours.into_values().flatten() {
        let at = fault.inject_timestamp.trim().parse::<i64>().map_err(|_| {
            RcaError::file(
                path,
                format!(
                    "the time `{}` is no number of seconds",
                    fault.inject_timestamp
                ),
            )
        })?;
        faults.push((at, fault));
    }
    faults.sort_by_key(|(at, _)| *at);
    Ok(faults)
}

fn pods(folder: &Path) -> Result<BTreeMap<String, BTreeMap<String, Series>>, RcaError> {
    let entries = fs::read_dir(folder).map_err(|error| RcaError::file(folder, error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut pods = BTreeMap::new();
    for path in files {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(pod) = name.strip_suffix("_metric.csv") {
            let series: &mut BTreeMap<String, Series> = pods.entry(service(pod)).or_default();
            for (column, values) in columns(&path)? {
                series.entry(column).or_default().extend(values);
            }
        }
    }
    Ok(pods)
}

/// Returns the service of a pod: its name without the hash of the revision and of the pod.
fn service(pod: &str) -> String {
    let mut parts: Vec<&str> = pod.split('-').collect();
    if parts.len() > 2 {
        parts.truncate(parts.len() - 2);
    }
    parts.join("-")
}

/// Reads the series of each column. The column `TimeStamp` has unix seconds.
fn columns(path: &Path) -> Result<BTreeMap<String, Series>, RcaError> {
    let table = Table::read_if_present(path)?;
    let (header, rows) = table.with_header();
    let time = header
        .iter()
        .position(|name| name.eq_ignore_ascii_case("timestamp"));
    let mut series: BTreeMap<String, Series> = BTreeMap::new();
    for row in rows {
        let Some(time) = time else {
            return Err(RcaError::file(path, "the column TimeStamp is missing"));
        };
        let at = table.seconds(row, time)?;
        for (column, name) in header.iter().enumerate() {
            if column == time || name.eq_ignore_ascii_case("time") {
                continue;
            }
            if name.eq_ignore_ascii_case("servicename") {
                continue;
            }
            if let Some(value) = table.number(row, column)? {
                series
                    .entry((*name).to_owned())
                    .or_default()
                    .insert(at, value);
            }
        }
    }
    Ok(series)
}

fn pair_series(path: &Path) -> Result<BTreeMap<Pair, Series>, RcaError> {
    let columns = columns(path)?.into_iter();
    Ok(columns
        .filter_map(|(name, series)| {
            let (from, to) = name.split_once('_')?;
            Some(((from.to_owned(), to.to_owned()), series))
        })
        .collect())
}

/// Reads rows of a minute, two names and a count.
fn counted(
    path: &Path,
    first: usize,
    second: usize,
    count: usize,
) -> Result<BTreeMap<Pair, Series>, RcaError> {
    let table = Table::read_if_present(path)?;
    let mut series: BTreeMap<Pair, Series> = BTreeMap::new();
    for row in table.with_header().1 {
        let text = |column: usize| row.fields.get(column).unwrap_or_default().to_owned();
        let minute = table.seconds(row, 0)?;
        if let Some(count) = table.number(row, count)? {
            *series
                .entry((text(first), text(second)))
                .or_default()
                .entry(minute)
                .or_insert(0.0) += count;
        }
    }
    Ok(series)
}

fn pairs(path: &Path) -> Result<Vec<Pair>, RcaError> {
    let table = Table::read_if_present(path)?;
    let text = |row: &crate::table::Row, column: usize| {
        row.fields.get(column).unwrap_or_default().trim().to_owned()
    };
    Ok(table
        .rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect())
}

fn key(name: &str) -> Target {
    Target::new("nezha", "Deployment", name)
}

/// Number of windows since the alarm.
const WINDOWS: usize = 3;

impl Day {
    fn case(&self, at: i64, fault: &Fault) -> Case {
        let keys = |(from, to): &Pair| (key(from), key(to));
        let node = |(from, to): &Pair| (key(from), Target::new("", "Node", to));
        let entry = key(&self.entry);
        let latency = self.pods.get(&self.entry).and_then(|pod| pod.get(LATENCY));
        let observed =
            latency.and_then(|series| self.since(series, at).into_iter().rev().flatten().next());
        let usual = latency.and_then(|series| self.usual(series, at));
        Case {
            name: format!("{}/{at} {}", self.name, service(&fault.inject_pod)),
            fault: fault.inject_type.clone(),
            answer: Some(key(&service(&fault.inject_pod))),
            calls: self.calls.iter().map(keys).collect(),
            runs_on: self.runs_on.iter().map(node).collect(),
            symptoms: Symptoms {
                at: (at + DELAY_SECONDS) * 1000,
                windows: WINDOWS,
                incidents: vec![incident(
                    &entry,
                    Meaning::Latency,
                    at * 1000,
                    usual,
                    observed,
                )],
                measures: self.measures(at),
                calls: self.call_measures(at),
                resources: self.resources(at),
                logs: self.log_patterns(at),
                uncovered: Vec::new(),
            },
        }
    }

    /// Returns the values of a series by window since `at`. A stamp is the end of its minute.
    fn since(&self, series: &Series, at: i64) -> Vec<Option<f64>> {
        (0..WINDOWS)
            .map(|window| {
                let start = at + SAMPLE_SECONDS * i64::try_from(window).unwrap_or(0);
                series
                    .range(start + 1..=start + SAMPLE_SECONDS)
                    .next_back()
                    .map(|(_, value)| *value)
            })
            .collect()
    }

    /// Returns the usual values before `at`, without the times of earlier faults. A day also holds
    /// faults that its list does not name.
    fn usual(&self, series: &Series, at: i64) -> Option<Usual> {
        let is_ill = |time: i64| {
            self.faults
                .iter()
                .any(|(start, _)| time > *start && time <= *start + FAULT_SECONDS)
        };
        let calm = series.range(..=at).filter(|(time, _)| !is_ill(**time));
        usual_of_disturbed(calm.map(|(_, value)| *value))
    }

    fn newest(series: &Series, at: i64) -> Option<f64> {
        series
            .range(at - 3 * SAMPLE_SECONDS..=at)
            .next_back()
            .map(|(_, value)| *value)
    }

    fn measures(&self, at: i64) -> Vec<Measure> {
        let none = Series::new();
        let measures = self.pods.iter().filter_map(|(name, pod)| {
            let (latency, rate) = (pod.get(LATENCY)?, pod.get(RATE).unwrap_or(&none));
            let requests = self.since(rate, at).into_iter();
            let windows = self
                .since(latency, at)
                .into_iter()
                .zip(requests)
                .map(|(value, rate)| Window {
                    value,
                    requests: rate.map(|rate| rate * SAMPLE_SECONDS as f64),
                });
            Some(Measure {
                entity: key(name),
                meaning: Meaning::Latency,
                usual: self.usual(latency, at),
                before: Self::newest(latency, at),
                requests_before: Self::newest(rate, at).map(|rate| rate * SAMPLE_SECONDS as f64),
                windows: windows.collect(),
            })
        });
        measures.collect()
    }

    fn resources(&self, at: i64) -> Vec<Resource> {
        let mut resources = Vec::new();
        for (name, pod) in &self.pods {
            for (column, kind) in RESOURCES {
                if let Some(series) = pod.get(column) {
                    resources.push(Resource {
                        entity: key(name),
                        kind,
                        usual: self.usual(series, at),
                        samples: self.since(series, at),
                    });
                }
            }
        }
        resources
    }

    fn call_measures(&self, at: i64) -> Vec<CallMeasure> {
        let none = Series::new();
        let measures = self.client.iter().map(|(pair, client)| {
            let gaps = gaps(client, self.server.get(pair).unwrap_or(&none));
            // A span's minute begins at its stamp.
            let spans = self.spans.get(pair).unwrap_or(&none).iter();
            let spans: Series = spans
                .map(|(minute, count)| (minute + SAMPLE_SECONDS, *count))
                .collect();
            let counts: Vec<f64> = spans.range(..=at).map(|(_, count)| *count).collect();
            let usual_calls = usual(counts.iter().copied()).filter(|_| counts.len() >= MIN_MINUTES);
            let values = self.since(&gaps, at).into_iter();
            let windows = values
                .zip(self.since(&spans, at))
                .map(|(value, requests)| Window { value, requests });
            CallMeasure {
                from: key(&pair.0),
                to: key(&pair.1),
                usual_gap: self.usual(&gaps, at),
                usual_calls: usual_calls.map(|usual| usual.level),
                windows: windows.collect(),
            }
        });
        measures.collect()
    }

    fn log_patterns(&self, at: i64) -> Vec<LogPattern> {
        let mut patterns = Vec::new();
        for ((service, template), lines) in &self.logs {
            let covered: BTreeSet<i64> = self
                .logs
                .iter()
                .filter(|((of, _), _)| of == service)
                .flat_map(|(_, series)| series.keys().copied())
                .collect();
            let before = |minute: i64| minute + SAMPLE_SECONDS <= at && minute >= at - LOG_SECONDS;
            let since = |minute: i64| minute >= at && minute + SAMPLE_SECONDS <= at + DELAY_SECONDS;
            let count = |is_in: &dyn Fn(i64) -> bool| -> f64 {
                lines
                    .iter()
                    .filter(|(minute, _)| is_in(**minute))
                    .map(|(_, count)| count)
                    .sum()
            };
            let requests = |is_in: &dyn Fn(i64) -> bool| -> f64 {
                let minutes = covered.iter().filter(|minute| is_in(**minute));
                minutes.map(|minute| self.requests(service, *minute)).sum()
            };
            patterns.push(LogPattern {
                entity: key(service),
                template: template.clone(),
                lines_before: count(&before),
                requests_before: requests(&before),
                lines_since: count(&since),
                requests_since: requests(&since),
            });
        }
        patterns
    }

    /// Returns the requests of a service in a minute: traced calls, or else the pod's rate.
    fn requests(&self, service: &str, minute: i64) -> f64 {
        let traced = self.spans.iter().filter(|((_, to), _)| to == service);
        let traced: f64 = traced.filter_map(|(_, series)| series.get(&minute)).sum();
        if traced > 0.0 {
            return traced;
        }
        let rate = self.pods.get(service).and_then(|pod| pod.get(RATE));
        let rate = rate.and_then(|rate| rate.range(minute..=minute + SAMPLE_SECONDS).next_back());
        rate.map_or(0.0, |(_, rate)| rate * SAMPLE_SECONDS as f64)
    }
}

/// Returns the time at the client minus the time at the server, where both are known.
fn gaps(client: &Series, server: &Series) -> Series {
    let mut gaps = Series::new();
    for (at, value) in client {
        let other = server
            .range(at - JITTER_SECONDS..=at + JITTER_SECONDS)
            .next();
        if let Some((_, server)) = other {
            gaps.insert(*at, value - server);
        }
    }
    gaps
}
