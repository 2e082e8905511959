//! Data that the sources of one signal reported in one round.

use std::collections::{BTreeMap, BTreeSet};

use anomalyzer_domain::{Coverage, Labels, Target};

use crate::SourceError;

/// Data that the sources reported for one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSeries {
    /// Number of sources that were asked, answered and failed.
    pub coverage: Coverage,
    /// Values by labels without `__name__`. Each label set occurs once.
    pub series: Vec<(Labels, f64)>,
    /// Label sets that will have a value later, but can't have one yet.
    pub withheld: BTreeSet<Labels>,
}

/// Number of samples that the sources reported for a signal, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Samples that were taken.
    pub kept: u64,
    /// Dropped samples that are older than the newest sample of their series.
    pub late: u64,
    /// Dropped samples that are too far in the future.
    pub future: u64,
}

impl Intake {
    /// Returns the number of dropped samples.
    pub fn dropped(self) -> u64 {
        self.late.saturating_add(self.future)
    }
}

/// Data that the sources reported in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Data by target.
    pub targets: BTreeMap<Target, TargetSeries>,
    /// Coverage of every known target that is not in `targets`.
    pub otherwise: Coverage,
    /// Number of series without a target. The labels that the target's template needs are missing,
    /// or their values make no valid target.
    pub unattributed: usize,
    /// Reason why a source failed. If several sources failed, the reason of the first one.
    pub failure: Option<SourceError>,
    /// Number of samples behind a derived signal.
    pub intake: Intake,
    /// Number of native histograms, which can't be values.
    pub histograms: usize,
    /// Problems without a failure.
    pub notes: Vec<String>,
    /// A sentence for each scraped source with lines that can't be used.
    pub damage: Vec<String>,
}
