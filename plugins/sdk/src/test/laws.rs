//! Laws that every plugin must keep, tested natively with inputs from a seed. A plugin's own tests
//! call them in one line.

use super::{
    Case, Phase, Played, detect, detect_in_frames, detect_over_restarts, series, the_series,
};
use crate::{
    Action, Detector, Error, Frame, Need, Operation, Outcome, Range, StatefulDetector, Step,
    Target, Verdict, Watch,
};

/// Number of series that a detector is shown.
const SERIES: u64 = 200;
/// Maximum number of operations that the host allows in one run.
const MOST_OPERATIONS: usize = 50;

/// Checks a detector on a few hundred series. Equal samples must give an equal verdict, wherever a
/// frame ends. Phases must follow one another. Figures must be finite. Each finding must have a
/// reason.
///
/// # Panics
/// Panics with the seed for [`series::any`] and the law that the detector broke.
pub fn assert_lawful_detector<D: Detector>(settings: &str) {
    for seed in 0..SERIES {
        if let Err(broken) = detector_law::<D>(settings, seed) {
            panic!("{} on series::any({seed}): {broken}", D::about().name);
        }
    }
}

fn detector_law<D: Detector>(settings: &str, seed: u64) -> Result<(), String> {
    let samples = series::any(seed);
    let said = |error: Error| format!("{error:?}");
    let whole = detect::<D>(settings, &samples).map_err(said)?;
    verdict_law(&whole)?;
    let again = detect::<D>(settings, &samples).map_err(said)?;
    if again != whole {
        return Err("another verdict the second time".to_owned());
    }
    let mut random = series::Random::new(seed);
    let ends: Vec<usize> = (0..random.below(10))
        .map(|_| random.below(samples.len() + 1))
        .collect();
    for ends in [ends, (0..samples.len()).collect()] {
        if detect_in_frames::<D>(settings, &samples, &ends).map_err(said)? != whole {
            return Err(format!(
                "another verdict when frames end before the samples {ends:?}"
            ));
        }
    }
    Ok(())
}

/// Checks the saved state of a detector on the series of [`assert_lawful_detector`]. A detector
/// that is saved and restored must go on as if nothing had happened. A damaged state must be
/// refused or do no harm.
///
/// # Panics
/// Panics with the seed for [`series::any`] and the law that the detector broke.
pub fn assert_lawful_memory<D: StatefulDetector>(settings: &str) {
    for seed in 0..SERIES {
        if let Err(broken) = memory_law::<D>(settings, seed) {
            panic!("{} on series::any({seed}): {broken}", D::about().name);
        }
    }
}

fn memory_law<D: StatefulDetector>(settings: &str, seed: u64) -> Result<(), String> {
    let samples = series::any(seed);
    let said = |error: Error| format!("{error:?}");
    let mut random = series::Random::new(seed);
    let restarts: Vec<usize> = (0..3).map(|_| random.below(samples.len() + 1)).collect();
    let whole = detect::<D>(settings, &samples).map_err(said)?;
    if detect_over_restarts::<D>(settings, &samples, &restarts).map_err(said)? != whole {
        return Err(format!(
            "another verdict when it is restarted before the samples {restarts:?}"
        ));
    }
    let frame = Frame {
        now: 0,
        opened: vec![the_series()],
        closed: vec![],
        ids: vec![0; samples.len()],
        at: samples.iter().map(|(at, _)| *at).collect(),
        values: samples.iter().map(|(_, value)| *value).collect(),
    };
    let mut watch = Watch::<D>::open(settings).map_err(said)?;
    watch.observe(&frame, false).map_err(said)?;
    let mut saved = watch.save(Some(0)).map_err(said)?;
    for _ in 0..1 + random.below(4) {
        let place = random.below(saved.len());
        saved[place] = random.bits() as u8;
    }
    let mut other = Watch::<D>::open(settings).map_err(said)?;
    if other
        .restore(Some(the_series()), D::about().version, &saved)
        .is_ok()
    {
        let frame = Frame {
            opened: vec![],
            ..frame
        };
        let verdict = other.observe(&frame, true).map_err(said)?;
        figures_law(&verdict).map_err(|broken| format!("after a damaged state: {broken}"))?;
    }
    Ok(())
}

/// Checks the phases and the figures of a verdict.
fn verdict_law(verdict: &Verdict) -> Result<(), String> {
    let mut open = false;
    for finding in &verdict.findings {
        let at = finding.sample;
        if open == (finding.phase == Phase::Onset) {
            return Err(format!(
                "{:?} at sample {at}, while {}",
                finding.phase,
                if open { "one is open" } else { "none is" }
            ));
        }
        open = finding.phase != Phase::Clear;
    }
    figures_law(verdict)
}

/// Checks the figures of a verdict.
fn figures_law(verdict: &Verdict) -> Result<(), String> {
    let good = |value: f64| value.is_finite() && value >= 0.0;
    if let Some(at) = verdict.scores.iter().position(|score| !good(*score)) {
        return Err(format!(
            "the score of sample {at} is {}",
            verdict.scores[at]
        ));
    }
    for finding in &verdict.findings {
        let at = finding.sample;
        if !good(finding.severity) || !good(finding.score) {
            return Err(format!(
                "score {} and severity {} at sample {at}",
                finding.score, finding.severity
            ));
        }
        if finding.reason.trim().is_empty()
            || finding.reason.contains('\n')
            || finding.reason.contains("NaN")
        {
            return Err(format!("the reason at sample {at} is {:?}", finding.reason));
        }
        // Either end may be infinite.
        if finding
            .expected
            .is_some_and(|Range { low, high }| low > high || low.is_nan() || high.is_nan())
        {
            return Err(format!(
                "the expected range at sample {at} is {:?}",
                finding.expected
            ));
        }
    }
    Ok(())
}

/// Name of an outcome, and a function that returns the outcome.
type Ending = (&'static str, fn() -> Outcome);

/// Checks an action under every outcome of each of its operations, and also on a target of an
/// unknown kind. The action must end and give a reason. It must do the same when it receives the
/// same outcomes. It must ask for no operation that it does not declare.
///
/// # Panics
/// Panics with the outcomes of the run and the law that the action broke.
pub fn assert_lawful_action<A: Action>(case: &Case) {
    let name = A::about().name;
    whatever_the_outcomes::<A>(case, name);
    let target = case.target.clone().map(|target| Target {
        kind: "Unheard.of".to_owned(),
        ..target
    });
    whatever_the_outcomes::<A>(
        &Case {
            target,
            ..case.clone()
        },
        &format!("{name} about a target of an unknown kind"),
    );
}

fn whatever_the_outcomes<A: Action>(case: &Case, who: &str) {
    let endings: [Ending; 4] = [
        ("done", || Outcome::Done("null".to_owned())),
        ("denied", || Outcome::Denied("cooldown".to_owned())),
        ("failed", || Outcome::Failed("409".to_owned())),
        ("in doubt", || Outcome::InDoubt("no answer".to_owned())),
    ];
    for (other, usual) in endings {
        for (name, odd) in endings {
            for at in 0..MOST_OPERATIONS {
                let told = format!(
                    "{who}: operation {} is {name}, the others are {other}",
                    at + 1
                );
                let play = || {
                    let mut count = 0;
                    case.play::<A>(|_| {
                        count += 1;
                        if count == at + 1 { odd() } else { usual() }
                    })
                };
                let played = match play() {
                    Ok(played) => played,
                    Err(error) => panic!("{told}: {error:?}"),
                };
                assert_eq!(
                    play().as_ref(),
                    Ok(&played),
                    "{told}: something else the second time"
                );
                if let Err(broken) = played_law(&played, A::NEEDS) {
                    panic!("{told}: {broken}");
                }
                if played.operations.len() <= at {
                    break;
                }
            }
        }
    }
}

fn played_law(played: &Played, needs: &[Need]) -> Result<(), String> {
    if played.operations.len() > MOST_OPERATIONS {
        return Err(format!(
            "it asks for {} operations, more than {MOST_OPERATIONS}",
            played.operations.len()
        ));
    }
    if let Some(undeclared) = played
        .operations
        .iter()
        .find(|operation| !is_declared(operation, needs))
    {
        let (name, of) = scope(undeclared);
        let of = of.map_or_else(String::new, |of| format!(" of {of}"));
        return Err(format!(
            "it asks for `{name}`{of}, which is not among its needs"
        ));
    }
    match &played.end {
        Step::Finished(words) | Step::GaveUp(words) if words.trim().is_empty() => {
            Err("it ends without a word".to_owned())
        }
        _ => Ok(()),
    }
}

/// Returns true if the needs declare an operation. `anomalyzer plugins test` checks the finer
/// scopes: the paths of a patch, the host of a request.
fn is_declared(operation: &Operation, needs: &[Need]) -> bool {
    match scope(operation) {
        (name, Some(scope)) => needs.iter().any(|need| need.covers(name, scope)),
        (name, None) => needs.iter().any(|need| need.names(name)),
    }
}

/// Returns an operation in the terms of a need: its name, and the kind of target or the channel.
fn scope(operation: &Operation) -> (&str, Option<&str>) {
    match operation {
        Operation::Inspect(target) => ("inspect", Some(&target.kind)),
        Operation::ReadLogs(request) => ("read_logs", Some(&request.target.kind)),
        Operation::Query(_) => ("query", None),
        Operation::Scale(scale) => ("scale", Some(&scale.target.kind)),
        Operation::Restart(target) => ("restart", Some(&target.kind)),
        Operation::RollBack(target) => ("roll_back", Some(&target.kind)),
        Operation::Patch(patch) => ("patch", Some(&patch.target.kind)),
        Operation::Http(_) => ("http", None),
        Operation::Notify(notice) => ("notify", Some(&notice.channel)),
        Operation::Custom(custom) => (&custom.name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{About, Change, Direction, Incident, Observation, Plan, UnixMs};

    const ABOUT: About = About {
        name: "lawless",
        version: "0.1.0",
        summary: "",
    };

    /// Detector that returns a set observation on every sample.
    struct Lawless<const PHASE: u8>;

    impl<const PHASE: u8> Detector for Lawless<PHASE> {
        type Settings = serde_json::Value;
        type Series = ();
        const HISTORY_MS: u64 = 0;

        fn about() -> About {
            ABOUT
        }

        fn open(_: serde_json::Value) -> Result<Self, Error> {
            Ok(Self)
        }

        fn series(&self, _: &[(String, String)]) {}

        fn observe(&mut self, (): &mut (), _: UnixMs, value: f64) -> Observation {
            let phase = if PHASE == 0 {
                crate::Phase::Onset
            } else {
                crate::Phase::Clear
            };
            let (severity, reason) = (value, format!("{value}"));
            Observation::change(
                1.0,
                Change {
                    phase,
                    direction: Direction::Above,
                    severity,
                    expected: None,
                    reason,
                },
            )
        }
    }

    #[test]
    #[should_panic(expected = "lawless on series::any(0): Phase::Clear at sample 0, while none is")]
    fn a_clear_without_an_onset_is_against_the_law() {
        assert_lawful_detector::<Lawless<1>>("{}");
    }

    #[test]
    #[should_panic(expected = "Onset at sample 1, while one is open")]
    fn an_onset_while_one_is_open_is_against_the_law() {
        assert_lawful_detector::<Lawless<0>>("{}");
    }

    /// Action that asks for a query, declared or not, and ends with or without words.
    struct Lawbreaker<const DECLARES: bool>;

    impl<const DECLARES: bool> Action for Lawbreaker<DECLARES> {
        type Parameters = serde_json::Value;
        const NEEDS: &'static [Need] = if DECLARES {
            &[Need {
                operation: "query",
                scope: "*",
            }]
        } else {
            &[]
        };

        fn about() -> About {
            ABOUT
        }

        fn plan(_: &Incident, _: serde_json::Value) -> Result<Plan, Error> {
            Ok(Plan::in_order(
                vec![Operation::Query("up".to_owned())],
                |_| String::new(),
            ))
        }
    }

    #[test]
    #[should_panic(expected = "it asks for `query`, which is not among its needs")]
    fn asking_for_what_is_not_declared_is_against_the_law() {
        assert_lawful_action::<Lawbreaker<false>>(&Case::default());
    }

    #[test]
    #[should_panic(expected = "operation 1 is done, the others are done: it ends without a word")]
    fn ending_without_a_word_is_against_the_law() {
        assert_lawful_action::<Lawbreaker<true>>(&Case::default());
    }

    /// Action that restarts a target of any kind, but declares one kind.
    struct Unheeding;

    impl Action for Unheeding {
        type Parameters = serde_json::Value;
        const NEEDS: &'static [Need] = &[Need {
            operation: "restart",
            scope: "Deployment",
        }];

        fn about() -> About {
            ABOUT
        }

        fn plan(incident: &Incident, _: serde_json::Value) -> Result<Plan, Error> {
            let restarts = incident.target.clone().map(Operation::Restart);
            Ok(Plan::in_order(restarts.into_iter().collect(), |_| {
                "restarted".to_owned()
            }))
        }
    }

    #[test]
    #[should_panic(
        expected = "about a target of an unknown kind: operation 1 is done, the others are done: it asks for \
                               `restart` of Unheard.of, which is not among its needs"
    )]
    fn acting_on_a_kind_that_is_not_declared_is_against_the_law() {
        assert_lawful_action::<Unheeding>(&Case::default());
    }
}
