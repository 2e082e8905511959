//! Checks on series that are odd in one way. The detector may not trap, and its verdict must be
//! readable by a person.

use super::bench::Bench;
use super::feed::{Cut, Order, Verdicts, watch};
use super::series::{Kind, Series};
use crate::report::Failure;
use anomalyzer_domain::Phase;

/// Checks that the findings on one series form a sequence: an onset, findings while the anomaly
/// lasts, a clear.
fn judge(series: &Series, verdicts: &Verdicts) -> Result<(), Failure> {
    let mut open = false;
    for finding in &verdicts.findings {
        let place = format!("series `{}`, sample {}", series.name, finding.sample);
        let wrong = |found: String, remedy: &str| Err(Failure::new(found, place.clone(), remedy));
        if open == (finding.phase == Phase::Onset) {
            let before = if open {
                "while an anomaly lasts"
            } else {
                "with no anomaly open"
            };
            return wrong(
                format!("a finding says {:?} {before}", finding.phase),
                "an anomaly begins with `onset`, may go on with `ongoing`, and ends with `clear`, each series by itself",
            );
        }
        open = finding.phase != Phase::Clear;
        if finding.reason.trim().is_empty() {
            return wrong(
                "a finding without a reason".to_owned(),
                "say in one line, with figures, what is unusual",
            );
        }
        if let Some(range) = finding.expected
            && let (Some(low), Some(high)) = (range.low, range.high)
            && low > high
        {
            return wrong(
                format!("the expected range is {low} to {high}"),
                "give the lower end first; an end that is not known is infinite",
            );
        }
    }
    Ok(())
}

fn of(bench: &Bench, kind: Kind) -> Result<(), Failure> {
    bench
        .series
        .iter()
        .filter(|series| series.kind == kind)
        .try_for_each(|series| {
            let verdicts = watch(bench, &[series], Order::OneAfterAnother, Cut::Every(64))?;
            judge(series, &verdicts[0])
        })
}

pub(super) fn phases(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Ordinary)
}

pub(super) fn gaps(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Gaps)
}

pub(super) fn constant(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Constant)
}

pub(super) fn huge_and_tiny(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Huge)
}

pub(super) fn counters(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Counter)
}

pub(super) fn few_samples(bench: &Bench) -> Result<(), Failure> {
    of(bench, Kind::Few)
}
