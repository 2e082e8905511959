//! Counts the findings of a detector on a calm series and on an obvious level shift.

use super::bench::Bench;
use super::feed::{Cut, Order, watch};
use super::series::Kind;
use crate::report::Report;
use anomalyzer_domain::Phase;

pub(super) fn count(bench: &Bench, report: &mut Report) {
    for (name, figure) in [
        ("calm", "onsets on 600 calm samples"),
        (
            "level shift and back",
            "onsets on a level shift of 12 standard deviations",
        ),
    ] {
        let series = bench
            .series
            .iter()
            .find(|series| series.kind == Kind::Ordinary && series.name == name);
        let Some(series) = series else { continue };
        if let Ok(verdicts) = watch(
            bench,
            &[series],
            Order::OneAfterAnother,
            Cut::Every(usize::MAX),
        ) {
            let onsets = verdicts[0]
                .findings
                .iter()
                .filter(|finding| finding.phase == Phase::Onset)
                .count();
            report.figure(figure, onsets as f64, "");
        }
    }
}
