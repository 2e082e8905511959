//! The evaluation: all recordings below a folder, plain and made harder.

use std::path::Path;

use crate::case::Case;
use crate::error::RcaError;
use crate::perturb::{drop_samples, hide_calls};
use crate::report::{RcaReport, Section, calibration};
use crate::score::{CaseScore, score};
use crate::{nezha, petshop, simulate};

/// Settings of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of seeds for hidden calls and missing samples.
    pub seeds: u64,
    /// Number of alarms without a fault for each scenario and metric.
    pub quiet: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seeds: 20,
            quiet: 100,
        }
    }
}

/// Fault kinds of Nezha that only change code paths.
const CODE_FAULTS: [&str; 2] = ["return", "exception"];

/// Scores all recordings of a folder. The folder is a recording itself, or holds recordings.
///
/// # Errors
/// Returns an error if a file cannot be read, or if there is no recording.
pub fn run(folder: &Path, options: Options) -> Result<RcaReport, RcaError> {
    let mut folders = vec![folder.to_owned()];
    folders.extend(petshop::folders(folder)?);
    let (mut sections, mut all) = (Vec::new(), Vec::new());
    for folder in &folders {
        let scenarios = petshop::load(folder)?;
        if !scenarios.is_empty() {
            petshop_sections(&scenarios, options, &mut sections, &mut all);
        }
        let days = nezha::load(folder)?;
        if !days.is_empty() {
            nezha_sections(&days, &mut sections, &mut all);
        }
    }
    if sections.is_empty() {
        return Err(RcaError::Nothing(folder.to_owned()));
    }
    Ok(RcaReport {
        calibration: calibration(&all),
        sections,
    })
}

fn petshop_sections(
    scenarios: &[petshop::Scenario],
    options: Options,
    sections: &mut Vec<Section>,
    all: &mut Vec<CaseScore>,
) {
    let cases = petshop::cases(scenarios);
    let mut add = |name: &str, scores: Vec<CaseScore>, is_listed: bool| {
        all.extend(scores.iter().cloned());
        sections.push(Section::new(name, scores, is_listed));
    };
    add(
        "PetShop, 600 s after the alarm",
        cases.iter().map(score).collect(),
        true,
    );
    add(
        "PetShop, a fifth of the calls hidden",
        by_seed(&cases, options.seeds, hide_calls),
        false,
    );
    add(
        "PetShop, a fifth of the samples missing",
        by_seed(&cases, options.seeds, drop_samples),
        false,
    );
    let quiet = petshop::quiet_cases(scenarios, options.quiet);
    let simulated = simulate::cases(&quiet);
    add(
        "PetShop, simulated faults",
        simulated.iter().map(score).collect(),
        true,
    );
    add(
        "PetShop, simulated faults, calls hidden",
        by_seed(&simulated, 1, hide_calls),
        false,
    );
    add(
        "PetShop, simulated faults, samples missing",
        by_seed(&simulated, 1, drop_samples),
        false,
    );
    add(
        "PetShop, alarms on quiet days",
        quiet.iter().map(score).collect(),
        true,
    );
}

fn by_seed(
    cases: &[Case],
    seeds: u64,
    change: fn(&Case, &mut fastrand::Rng) -> Case,
) -> Vec<CaseScore> {
    let mut scores = Vec::new();
    for seed in 0..seeds {
        // One generator for all cases of a seed: each case loses other parts.
        let mut random = fastrand::Rng::with_seed(seed);
        scores.extend(cases.iter().map(|case| score(&change(case, &mut random))));
    }
    scores
}

fn nezha_sections(days: &[nezha::Day], sections: &mut Vec<Section>, all: &mut Vec<CaseScore>) {
    let scores: Vec<CaseScore> = nezha::cases(days).iter().map(score).collect();
    all.extend(scores.iter().cloned());
    let (code, resource): (Vec<CaseScore>, Vec<CaseScore>) = scores
        .into_iter()
        .partition(|score| CODE_FAULTS.contains(&score.fault.as_str()));
    sections.push(Section::new(
        "Nezha, CPU and network faults",
        resource,
        true,
    ));
    sections.push(Section::new("Nezha, code faults", code, true));
}
