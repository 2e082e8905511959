//! Checks of a detector.

use super::bench::Bench;
use super::{determinism, edge_cases, lifecycle, memory, quiet, series, speed};
use crate::report::{Failure, Report};
use crate::{Trial, settings};
use anomalyzer_plugin_host::{PluginInfo, Plugins};

type Run = fn(&Bench) -> Result<(), Failure>;

/// Checks of every detector.
const CHECKS: [(&str, &str, Run); 15] = [
    (
        "wrong-settings",
        "settings that are wrong are refused as `invalid`, with a word why",
        wrong_settings,
    ),
    (
        "default-settings",
        "what its schema calls the defaults opens it",
        default_settings,
    ),
    (
        "same-twice",
        "the same samples give the same verdict, twice",
        determinism::twice,
    ),
    (
        "scores-or-not",
        "whether scores are asked for changes no finding",
        determinism::scores_or_not,
    ),
    (
        "frame-ends",
        "where a frame ends changes nothing",
        determinism::frame_ends,
    ),
    (
        "phases",
        "onset, then ongoing, then clear; each with a reason and a range that is one",
        edge_cases::phases,
    ),
    (
        "gaps",
        "hours without samples, and times far in the past and the future",
        edge_cases::gaps,
    ),
    (
        "constant",
        "a constant, and a constant that jumps",
        edge_cases::constant,
    ),
    (
        "huge-and-tiny",
        "values near the largest and the smallest there are",
        edge_cases::huge_and_tiny,
    ),
    (
        "counters",
        "a counter at 2^53, where adding 1 changes nothing, and its reset",
        edge_cases::counters,
    ),
    (
        "few-samples",
        "series that end after one to ten samples",
        edge_cases::few_samples,
    ),
    (
        "held-back",
        "samples that are not finite, late or repeated change nothing: the host holds them back",
        determinism::held_back,
    ),
    (
        "empty-frames",
        "frames without samples, with openings only, with closings only",
        lifecycle::empty_frames,
    ),
    (
        "series-come-and-go",
        "ten thousand series, opened and closed, leave nothing behind",
        memory::of_series,
    ),
    (
        "long-life",
        "its memory does not grow with the samples that it has seen",
        memory::of_samples,
    ),
];

/// Checks of a detector that treats its series independently.
const APART: [(&str, &str, Run); 2] = [
    (
        "other-series",
        "what it says of a series does not depend on other series",
        determinism::other_series,
    ),
    (
        "forgets",
        "a series that was closed and comes again begins anew",
        lifecycle::forgets,
    ),
];

/// Checks of a detector whose state can be saved.
const STATEFUL: [(&str, &str, Run); 1] = [(
    "save-restore",
    "saved and restored between two frames it says what it would have said",
    determinism::saved_and_restored,
)];

pub(crate) fn examine(plugins: &Plugins, plugin: &PluginInfo, trial: &Trial) -> Report {
    let mut report = Report::new(plugin);
    let bench = Bench {
        plugins,
        name: &plugin.name,
        version: &plugin.version,
        settings: &trial.settings,
        schema: &plugin.settings,
        series: series::all(),
    };
    let opened = bench.open().map(drop);
    if !report.check(
        "opens",
        "it opens with the settings that it is tried with",
        opened,
    ) {
        report
            .notes
            .push("nothing else was tried: it does not open".to_owned());
        return report;
    }
    for (name, about, run) in CHECKS {
        report.check(name, about, run(&bench));
    }
    if plugin.stateful {
        for (name, about, run) in STATEFUL {
            report.check(name, about, run(&bench));
        }
    } else {
        report
            .notes
            .push("not tried, as it exports no `state`: save-restore".to_owned());
    }
    if trial.series_share {
        report.notes.push(
            "not tried, as its series share what they know: other-series, forgets".to_owned(),
        );
    } else {
        for (name, about, run) in APART {
            report.check(name, about, run(&bench));
        }
    }
    speed::measure(&bench, &mut report);
    quiet::count(&bench, &mut report);
    report
}

fn wrong_settings(bench: &Bench) -> Result<(), Failure> {
    settings::wrong(bench.schema, bench.settings)
        .iter()
        .try_for_each(|(how, wrong)| settings::judge(bench.try_open(wrong).map(drop), how))
}

fn default_settings(bench: &Bench) -> Result<(), Failure> {
    let mut all = settings::defaults(bench.schema);
    // Settings without a default must be given.
    if let (Some(all), Some(given)) = (all.as_object_mut(), bench.settings.as_object()) {
        all.extend(given.clone());
    }
    match bench.try_open(&all) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            format!("it answers: {error}"),
            format!("opening it with {all}"),
            "let the schema and the code have the same defaults",
        )),
    }
}
