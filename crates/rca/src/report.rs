//! Report of all scores.

use std::fmt::Write;

use serde::Serialize;

use crate::score::CaseScore;

/// Scores of one set of cases.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Name of the set.
    pub name: String,
    /// Number of explanations.
    pub cases: usize,
    /// Mean of the first place.
    pub top1: f64,
    /// Mean of the first three places.
    pub top3: f64,
    /// Explanations with a root.
    pub blamed: usize,
    /// Each case; empty for sets that repeat cases by many seeds.
    pub each: Vec<CaseScore>,
}

/// Part of explanations with a confidence in a range that were right.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// Lower end of the range.
    pub from: f64,
    /// Upper end of the range.
    pub to: f64,
    /// Number of explanations.
    pub cases: usize,
    /// Part that was right.
    pub right: f64,
}

/// Scores of all recordings.
#[derive(Clone, Debug, Serialize)]
pub struct RcaReport {
    /// Sets of cases.
    pub sections: Vec<Section>,
    /// Confidence and truth, over all cases with a fault.
    pub calibration: Vec<Calibration>,
}

impl Section {
    /// Summarizes scores.
    pub fn new(name: &str, scores: Vec<CaseScore>, is_listed: bool) -> Self {
        let mean = |of: &dyn Fn(&CaseScore) -> f64| {
            let sum: f64 = scores.iter().map(of).sum();
            if scores.is_empty() {
                0.0
            } else {
                sum / scores.len() as f64
            }
        };
        Self {
            name: name.to_owned(),
            cases: scores.len(),
            top1: mean(&|score| score.top1),
            top3: mean(&|score| score.top3),
            blamed: scores.iter().filter(|score| score.root.is_some()).count(),
            each: if is_listed { scores } else { Vec::new() },
        }
    }
}

/// Compares confidence and truth.
pub fn calibration(scores: &[CaseScore]) -> Vec<Calibration> {
    let bounds = [0.0, 0.2, 0.4, 0.6, 1.01];
    let ranges = bounds.windows(2).map(|range| {
        let inside = scores.iter().filter(|score| {
            score.answer.is_some()
                && score
                    .confidence
                    .is_some_and(|c| c >= range[0] && c < range[1])
        });
        let points: Vec<f64> = inside.map(|score| score.top1).collect();
        Calibration {
            from: range[0],
            to: range[1].min(1.0),
            cases: points.len(),
            right: if points.is_empty() {
                0.0
            } else {
                points.iter().sum::<f64>() / points.len() as f64
            },
        }
    });
    ranges.collect()
}

impl RcaReport {
    /// Writes the report for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<44} {:>6} {:>6} {:>6} {:>7}",
            "SET", "CASES", "TOP-1", "TOP-3", "BLAMED"
        );
        for section in &self.sections {
            let Section {
                name,
                cases,
                top1,
                top3,
                blamed,
                ..
            } = section;
            let _ = writeln!(
                out,
                "{name:<44} {cases:>6} {top1:>6.3} {top3:>6.3} {blamed:>7}"
            );
        }
        let _ = writeln!(out, "\n{:<44} {:>6} {:>6}", "CONFIDENCE", "CASES", "RIGHT");
        for Calibration {
            from,
            to,
            cases,
            right,
        } in &self.calibration
        {
            let range = format!("{from:.1} to {to:.1}");
            let _ = writeln!(out, "{range:<44} {cases:>6} {right:>6.3}");
        }
        for section in self
            .sections
            .iter()
            .filter(|section| !section.each.is_empty())
        {
            let _ = writeln!(out, "\n{}", section.name);
            for score in section
                .each
                .iter()
                .filter(|score| score.answer.is_some() || score.root.is_some())
            {
                let mark = match (&score.answer, &score.root) {
                    (None, _) => "wrong".to_owned(),
                    (Some(_), _) => format!("{:.3}", score.top1),
                };
                let confidence = score
                    .confidence
                    .map_or_else(|| "   -".to_owned(), |c| format!("{c:.2}"));
                let _ = writeln!(
                    out,
                    "{mark} {confidence} {:<52} {:<32} root {:<32} answer {}",
                    score.case,
                    score.fault.chars().take(32).collect::<String>(),
                    score.root.as_deref().unwrap_or("-"),
                    score.answer.as_deref().unwrap_or("-")
                );
            }
        }
        out
    }
}
