use std::time::Duration;

use super::*;
use anomalyzer_domain::testing::{self, web_process as web};

fn finding(signal: &str, phase: Phase, at: UnixMs) -> Finding {
    Finding {
        at,
        onset_at: at,
        phase,
        ..testing::finding(signal)
    }
}

fn config() -> IncidentConfig {
    IncidentConfig {
        confirm_after: Duration::from_millis(10),
        quiet_for: Duration::from_millis(5),
        reaffirm_within: Duration::from_millis(100),
    }
}

fn none() -> Series {
    testing::series(vec![])
}

fn answering() -> Coverage {
    testing::coverage(1, 1)
}

fn origin() -> SampleOrigin {
    SampleOrigin {
        coverage: answering(),
        foreign: false,
    }
}

/// Returns the log after an engine published an incident on `a` that was confirmed and is
/// ongoing.
fn left_behind() -> IncidentLog {
    let known = IncidentLog::default();
    let mut correlator = IncidentCorrelator::new(config(), known.clone());
    let opened = correlator.record(&web(), finding("a", Onset, 0), none(), origin());
    opened
        .into_iter()
        .chain(correlator.advance(10))
        .for_each(|event| known.take(&event));
    known
}

fn kinds(events: impl IntoIterator<Item = IncidentEvent>) -> Vec<IncidentEventKind> {
    events.into_iter().map(|event| event.kind).collect()
}

/// Records findings `(signal, phase, at)`, with an empty signal only the passing of time, and
/// compares the kinds of the events.
#[track_caller]
fn check(steps: &[(&str, Phase, UnixMs)], expected: &[IncidentEventKind]) {
    let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default());
    let target = web();
    let mut kinds = Vec::new();
    for (signal, phase, at) in steps {
        if !signal.is_empty() {
            let event = correlator.record(
                &target,
                finding(signal, *phase, *at),
                none(),
                SampleOrigin::default(),
            );
            kinds.extend(event.map(|event| event.kind));
        }
        kinds.extend(correlator.advance(*at).into_iter().map(|event| event.kind));
    }
    assert_eq!(kinds, expected);
}

use IncidentEventKind::{Changed, Cleared, Confirmed, Opened};
use Phase::{Clear, Onset};

#[test]
fn an_incident_opens_is_confirmed_and_clears_when_all_its_series_are_quiet() {
    check(
        &[
            ("a", Onset, 0),
            ("b", Onset, 3),
            ("", Onset, 10),
            ("a", Clear, 12),
            ("b", Clear, 14),
            ("", Clear, 19),
        ],
        &[Opened, Changed, Confirmed, Changed, Changed, Cleared],
    );
}

#[test]
fn what_passes_before_the_confirmation_is_diagnosed_only_as_over() {
    check(
        &[
            ("a", Onset, 0),
            ("a", Clear, 2),
            ("", Clear, 6),
            ("", Clear, 7),
        ],
        &[Opened, Changed, Confirmed, Cleared],
    );
}

#[test]
fn a_series_that_comes_back_in_time_keeps_the_incident_open() {
    check(
        &[
            ("a", Onset, 0),
            ("a", Clear, 2),
            ("a", Onset, 5),
            ("", Onset, 8),
        ],
        &[Opened, Changed, Changed],
    );
}

#[test]
fn only_the_time_of_findings_that_are_still_active_counts_for_the_confirmation() {
    // A finding that flickers is confirmed when it has lasted without a break.
    check(
        &[
            ("a", Onset, 0),
            ("a", Clear, 8),
            ("a", Onset, 12),
            ("", Onset, 21),
            ("", Onset, 22),
        ],
        &[Opened, Changed, Changed, Confirmed],
    );
    // The finding that began the incident is over when another one has lasted for a moment.
    check(
        &[
            ("a", Onset, 0),
            ("b", Onset, 8),
            ("a", Clear, 9),
            ("", Onset, 17),
            ("", Onset, 18),
        ],
        &[Opened, Changed, Changed, Confirmed],
    );
}

#[test]
fn a_signal_has_a_time_of_its_own_and_a_severity_without_doubt_halves_it() {
    for (own, severity, at) in [
        (None, 2.0, 10),
        (None, 10.0, 5),
        (Some(4), 2.0, 4),
        (Some(4), 50.0, 2),
        (Some(20), f64::NAN, 20),
    ] {
        let times = own.map(|own| ("a".to_owned(), Duration::from_millis(own)));
        let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default())
            .with_signal_times(times.into_iter().collect());
        let onset = Finding {
            severity,
            ..finding("a", Onset, 0)
        };
        correlator.record(&web(), onset, none(), origin());
        let confirmed = (0..100).find(|now| !correlator.advance(*now).is_empty());
        assert_eq!(confirmed, Some(at), "{own:?} {severity}");
    }
}

#[test]
fn a_series_that_joins_later_asks_for_another_diagnosis() {
    check(
        &[
            ("a", Onset, 0),
            ("", Onset, 10),
            ("b", Onset, 12),
            ("", Onset, 22),
        ],
        &[Opened, Confirmed, Changed, Confirmed],
    );
}

#[test]
fn a_clear_without_an_onset_opens_nothing() {
    check(&[("a", Clear, 0)], &[]);
}

#[test]
fn an_incident_that_another_engine_left_is_gone_on_with_and_not_opened_or_confirmed_again() {
    let mut correlator = IncidentCorrelator::new(config(), left_behind());
    assert!(
        correlator.advance(1000).is_empty(),
        "who hears of the target is not known yet"
    );
    correlator.update_coverage(&web(), "a", 1000, answering());
    assert_eq!(correlator.take_adopted().len(), 1);
    assert_eq!(kinds(correlator.advance(1000)), []);
    assert_eq!(
        kinds(correlator.record(&web(), finding("a", Onset, 1010), none(), origin(),)),
        [Changed]
    );
    assert_eq!(
        kinds(correlator.record(&web(), finding("a", Clear, 1020), none(), origin(),)),
        [Changed]
    );
    assert_eq!(kinds(correlator.advance(1025)), [Cleared]);
}

#[test]
fn what_nobody_finds_again_after_a_restart_is_over_after_a_while() {
    let mut correlator = IncidentCorrelator::new(config(), left_behind());
    correlator.adopt_all();
    assert_eq!(kinds(correlator.advance(1000)), []);
    correlator.update_coverage(&web(), "a", 1050, answering());
    assert_eq!(kinds(correlator.advance(1099)), []);
    let events = correlator.advance(1100);
    assert!(
        events[0].incident.findings[0]
            .reason
            .contains("not found again within 100ms"),
        "{events:?}"
    );
    assert_eq!(kinds(events), [Changed]);
    assert_eq!(kinds(correlator.advance(1105)), [Cleared]);
}

#[test]
fn what_cannot_be_seen_after_a_restart_is_not_over() {
    let mut correlator = IncidentCorrelator::new(config(), left_behind());
    correlator.update_coverage(
        &web(),
        "a",
        1000,
        Coverage {
            asked: 1,
            answered: 0,
            failed: 1,
        },
    );
    assert_eq!(kinds(correlator.advance(5000)), []);
    correlator.update_coverage(&web(), "a", 5000, answering());
    assert_eq!(kinds(correlator.advance(5001)), [Changed]);
}

#[test]
fn what_a_detector_still_knows_of_after_a_restart_goes_on() {
    let mut correlator = IncidentCorrelator::new(config(), left_behind());
    correlator.update_coverage(&web(), "a", 1000, answering());
    assert_eq!(
        correlator.inherited("a", "zscore"),
        [(web(), finding("a", Onset, 0))]
    );
    correlator.reaffirm(&web(), &finding("a", Onset, 0));
    assert_eq!(correlator.inherited("a", "zscore"), []);
    assert_eq!(kinds(correlator.advance(9999)), []);
}

#[test]
fn an_incident_that_another_engine_went_on_with_is_left_to_it() {
    let known = left_behind();
    let mut correlator = IncidentCorrelator::new(config(), known.clone());
    correlator.update_coverage(&web(), "a", 1000, answering());
    let mut theirs = correlator.take_adopted().remove(0);
    theirs.changed_at = 1001;
    known.take(&event(Changed, 1001, &theirs));
    assert_eq!(kinds(correlator.advance(9999)), []);
    assert!(correlator.is_empty());
    // Until its target is heard of here again.
    correlator.update_coverage(&web(), "a", 10_000, answering());
    assert_eq!(correlator.take_adopted(), [theirs]);
}

/// Returns the kinds of the events at these times after an onset at 0.
fn kinds_at(correlator: &mut IncidentCorrelator, times: &[UnixMs]) -> Vec<Vec<IncidentEventKind>> {
    let due = times.iter().map(|at| correlator.advance(*at));
    due.map(|events| events.iter().map(|event| event.kind).collect())
        .collect()
}

#[test]
fn a_pause_of_this_process_confirms_nothing_and_clears_nothing() {
    use IncidentEventKind::{Cleared, Confirmed};
    let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default());
    correlator.record(&web(), finding("a", Onset, 0), none(), origin());
    correlator.excuse(Pause {
        from: 1,
        to: 60_001,
    });
    let told = kinds_at(&mut correlator, &[60_002, 60_009, 60_010]);
    assert_eq!(told, [vec![], vec![], vec![Confirmed]]);
    correlator.record(&web(), finding("a", Clear, 60_020), none(), origin());
    correlator.excuse(Pause {
        from: 60_021,
        to: 120_021,
    });
    let told = kinds_at(&mut correlator, &[120_022, 120_025]);
    assert_eq!(told, [vec![], vec![Cleared]]);
}

#[test]
fn a_clock_that_was_ahead_holds_no_incident_open() {
    use IncidentEventKind::{Cleared, Confirmed};
    const AHEAD: UnixMs = 10 * 365 * 24 * 3600 * 1000;
    let known = IncidentLog::default();
    let mut correlator = IncidentCorrelator::new(config(), known.clone());
    let onset = Finding {
        onset_at: AHEAD,
        ..finding("a", Onset, AHEAD)
    };
    let opened = correlator.record(&web(), onset, none(), origin()).unwrap();
    correlator.note_published(&opened);
    correlator.bound(100);
    assert_eq!(
        kinds_at(&mut correlator, &[105, 110]),
        [vec![], vec![Confirmed]]
    );
    correlator.record(&web(), finding("a", Clear, 120), none(), origin());
    let cleared = correlator.advance(125);
    assert_eq!(cleared[0].kind, Cleared);
    correlator.note_published(&cleared[0]);
    assert!(known.open().is_empty());
    assert!(cleared[0].incident.changed_at >= opened.incident.changed_at);
}

proptest::proptest! {
    #[test]
    fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
        let mut correlator = IncidentCorrelator::new(config(), left_behind());
        for (at, phase) in times.iter().zip([Onset, Clear, Phase::Ongoing].into_iter().cycle()) {
            correlator.update_coverage(&web(), "a", *at, answering());
            correlator.record(&web(), finding("a", phase, *at), none(), origin());
            correlator.bound(at.wrapping_neg());
            correlator.advance(at.wrapping_neg());
            correlator.advance(*at);
        }
    }
}

/// Returns the finding of `signal` on the series of `pod`.
fn of_pod(pod: usize, phase: Phase, at: UnixMs) -> Finding {
    Finding {
        labels: anomalyzer_domain::Labels::new([("pod", pod.to_string())]),
        ..finding("memory", phase, at)
    }
}

/// The pods `0..100` go bad. Those of `recovers` recover, and `more` pods go bad after that.
fn storm(recovers: &[usize], more: usize) -> (IncidentCorrelator, Vec<IncidentEventKind>) {
    let mut correlator = IncidentCorrelator::new(config(), IncidentLog::default());
    let onsets = (0..100).map(|pod| of_pod(pod, Onset, 0));
    let clears = recovers.iter().map(|pod| of_pod(*pod, Clear, 20));
    let later = (100..100 + more).map(|pod| of_pod(pod, Onset, 20));
    let mut events = Vec::new();
    for finding in onsets.chain(clears).chain(later) {
        events.extend(correlator.record(&web(), finding, none(), origin()));
    }
    events.extend(correlator.advance(1_000));
    (correlator, kinds(events))
}

#[test]
fn an_incident_stays_open_while_a_series_beyond_its_places_is_bad() {
    let first: Vec<usize> = (0..70).collect();
    let last: Vec<usize> = (30..100).collect();
    let odd: Vec<usize> = (0..100).filter(|pod| pod % 10 != 3).collect();
    let all_but_one: Vec<usize> = (0..99).collect();
    for (recovers, bad) in [(first, 30), (last, 30), (odd, 10), (all_but_one, 1)] {
        let (correlator, kinds) = storm(&recovers, 0);
        assert!(!kinds.contains(&Cleared), "{bad} pods are bad");
        let incident = &correlator.open[&web()].incident;
        assert_eq!(incident.active().count(), bad);
        assert!(incident.findings.len() <= open_incident::MAX_FINDINGS);
        assert_eq!(incident.findings.len(), incident.samples.len());
    }
    let all: Vec<usize> = (0..100).collect();
    assert!(storm(&all, 0).1.contains(&Cleared));
}

#[test]
fn cleared_findings_make_room_for_series_that_go_bad_later() {
    let all: Vec<usize> = (0..100).collect();
    let (correlator, kinds) = storm(&all, 10);
    assert!(!kinds.contains(&Cleared));
    let incident = &correlator.open[&web()].incident;
    assert_eq!(incident.active().count(), 10);
}
