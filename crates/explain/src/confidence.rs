//! Step 7: the confidence that a root is right.

use crate::output::Advice;

/// Confidence from which an action needs no approval.
const ACT_FROM: f64 = 0.6;

/// Confidence from which a person is asked.
const ASK_FROM: f64 = 0.4;

/// Factor for a root that is the entity of the incident and calls others: a call that no source
/// reports looks like an own loss.
const OWN_TARGET: f64 = 0.4;

/// Factor for a result that rests on gaps.
const NOT_COVERED: f64 = 0.5;

/// Factor for losses without request counts: measured on recordings, the counts are worth half of
/// the results.
const NO_COUNTS: f64 = 0.5;

/// Confidence of hard evidence.
const HARD: f64 = 0.9;

/// Confidence of two soft signs.
const TWO_SOFT: f64 = 0.6;

/// Confidence of one soft sign.
const ONE_SOFT: f64 = 0.4;

/// Facts that decide the confidence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grounds {
    /// Share of the root; `None` if there is no loss to divide.
    pub share: Option<f64>,
    /// Part of the incident's excess that is beyond its usual range, 0 to 1.
    pub beyond: f64,
    pub is_own_target_with_callees: bool,
    /// True if the result rests on gaps.
    pub has_gaps: bool,
    pub lacks_counts: bool,
    /// True if the result rests on a guessed call.
    pub is_guessed: bool,
    pub is_hard: bool,
    /// Number of soft signs at the root.
    pub soft: usize,
}

/// Returns the confidence, 0 to 1.
pub fn confidence(grounds: &Grounds) -> f64 {
    let of_evidence = match (grounds.is_hard, grounds.soft) {
        (true, _) => HARD,
        (false, 0) => 0.0,
        (false, 1) => ONE_SOFT,
        (false, _) => TWO_SOFT,
    };
    let Some(share) = grounds.share else {
        return of_evidence;
    };
    let mut of_loss = share.clamp(0.0, 1.0) * (0.5 + grounds.beyond).clamp(0.5, 1.0);
    let factors = [
        (grounds.is_own_target_with_callees, OWN_TARGET),
        (grounds.has_gaps, NOT_COVERED),
        (grounds.is_guessed, NOT_COVERED),
        (grounds.lacks_counts, NO_COUNTS),
    ];
    for (_, factor) in factors.iter().filter(|(holds, _)| *holds) {
        of_loss *= factor;
    }
    of_loss.max(of_evidence)
}

/// Returns the handling that a confidence allows.
pub fn advice(confidence: f64) -> Advice {
    match confidence {
        c if c >= ACT_FROM => Advice::Act,
        c if c >= ASK_FROM => Advice::Ask,
        _ => Advice::Report,
    }
}
