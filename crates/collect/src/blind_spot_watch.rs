//! Recognizes blind spots in the rounds of collection.

use std::time::Duration;

use anomalyzer_common::blind_spot::{BlindSpotKind, BlindSpots};
use anomalyzer_domain::duration;

use super::SourceError;
use super::moment::Moment;
use super::round::Intake;

/// Number of rounds without a sample after which a signal is blind.
const NO_DATA_ROUNDS: u32 = 20;
/// Number of rounds after which a source that fails is a blind spot.
const FAILING_ROUNDS: u32 = 10;
/// Number of rounds after which missing parts or dropped samples are a blind spot.
const LOSS_ROUNDS: u32 = 3;
/// Share of dropped samples above which they are a blind spot.
const MAX_DROPPED_SHARE: f64 = 0.1;
/// Number of slow rounds after which their interval is a blind spot.
const SLOW_ROUNDS: u32 = 10;
/// Time for which a jump of the clock is shown.
const JUMP_SHOWN: Duration = Duration::from_secs(600);
/// Subject of a jump of the clock.
const CLOCK: &str = "clock";

/// Result of one round of a signal.
#[derive(Clone, Debug, Default)]
pub struct RoundResult<'a> {
    /// Number of published samples.
    pub samples: usize,
    /// Number of sources that answered with data. They may have data without a value, such as a
    /// ratio without traffic.
    pub answered: u32,
    /// Number of known targets. Their absence is reported for each of them.
    pub targets: usize,
    /// Reason why a source failed.
    pub failure: Option<&'a SourceError>,
    /// Numbers of samples behind the signal.
    pub intake: Intake,
    /// Number of batches that the bus did not take.
    pub lost: u64,
    /// Number of native histograms, which can't be values.
    pub histograms: usize,
    /// Description of lines of a scrape that can't be used, if any.
    pub damage: Option<&'a str>,
    /// Description of the series and targets beyond the limits, if any.
    pub surplus: Option<&'a str>,
    /// Description of the series whose labels can't be used, if any.
    pub refused: Option<&'a str>,
    /// Description of the series that end and begin again and again, if any.
    pub intermittent: Option<&'a str>,
}

/// Watch over the rounds of one signal. Counts consecutive rounds with a problem.
#[derive(Clone, Debug, Default)]
pub struct SignalWatch {
    silent: u32,
    failing: u32,
    unusable: u32,
    partial: u32,
    dropping: u32,
}

impl SignalWatch {
    /// Takes the result of a round, and updates the table.
    pub fn observe(&mut self, spots: &BlindSpots, signal: &str, round: &RoundResult<'_>) {
        let failure = round.failure;
        let is_nothing = round.samples == 0 && round.answered == 0;
        let is_marked = matches!(failure, Some(SourceError::Partial { .. }));
        let is_partial = is_marked || (failure.is_none() && round.damage.is_some());
        let is_unusable = failure.map_or(is_nothing && round.histograms > 0, |failure| {
            failure.is_unusable()
        });
        let is_failing = failure.is_some() && !is_partial && !is_unusable && round.targets == 0;
        // A failing source says nothing about the signal.
        if failure.is_none() || !is_nothing {
            count(&mut self.silent, is_nothing);
        }
        count(&mut self.failing, is_failing);
        count(&mut self.unusable, is_unusable);
        count(&mut self.partial, is_partial);
        let Intake { kept, late, future } = round.intake;
        let (dropped, all) = (late + future, kept + late + future);
        let is_dropping = dropped as f64 > all as f64 * MAX_DROPPED_SHARE;
        count(&mut self.dropping, is_dropping || round.lost > 0);

        let reason = || failure.map_or_else(String::new, ToString::to_string);
        let silent = format!("no sample in the last {} rounds", self.silent);
        let unusable = match failure {
            Some(failure) => failure.to_string(),
            None => format!(
                "{} series are native histograms: ask for histogram_quantile(…) of them",
                round.histograms
            ),
        };
        let drops = match round.lost {
            0 => format!(
                "{dropped} of {all} samples of a round were dropped: {future} are more than ten minutes in the future, \
                 {late} are older than the newest of their series"
            ),
            lost => format!("the bus did not take {lost} batches of a round in time"),
        };
        for (kind, lasts, detail) in [
            (BlindSpotKind::NoData, self.silent >= NO_DATA_ROUNDS, silent),
            (
                BlindSpotKind::SourceFails,
                self.failing >= FAILING_ROUNDS,
                reason(),
            ),
            (
                BlindSpotKind::UnusableAnswer,
                self.unusable >= FAILING_ROUNDS,
                unusable,
            ),
            (
                BlindSpotKind::PartialAnswer,
                self.partial >= LOSS_ROUNDS,
                round.damage.map_or_else(reason, str::to_owned),
            ),
        ] {
            spots.set(kind, signal, lasts.then_some(detail));
        }
        // The engine reports the samples that it drops under the name of the signal.
        let drops = (self.dropping >= LOSS_ROUNDS).then_some(drops);
        let subject = format!("sources of {signal}");
        spots.set(BlindSpotKind::SamplesDropped, &subject, drops);
        let surplus = round.surplus.map(str::to_owned);
        spots.set(BlindSpotKind::TooManySeries, signal, surplus);
        // The engine reports the series of other producers under the name of the signal.
        let refused = round.refused.map(str::to_owned);
        spots.set(BlindSpotKind::UnacceptableSeries, &subject, refused);
        let intermittent = round.intermittent.map(str::to_owned);
        spots.set(BlindSpotKind::IntermittentSeries, signal, intermittent);
    }
}

/// Counts consecutive rounds in which a condition holds.
fn count(rounds: &mut u32, holds: bool) {
    *rounds = if holds { rounds.saturating_add(1) } else { 0 };
}

/// Watch over the pace and the clock of a kind of round.
#[derive(Clone, Debug)]
pub struct PaceWatch {
    subject: String,
    interval: Duration,
    slow: u32,
    last: Option<Moment>,
    /// Steady time of the last jump of the clock.
    jumped_at: Option<i64>,
}

impl PaceWatch {
    /// Creates a watch over rounds of this `kind`, such as `scrapes`, at this interval.
    pub fn new(kind: &str, interval: Duration) -> Self {
        Self {
            subject: format!("{kind} every {}", duration::format(interval)),
            interval,
            slow: 0,
            last: None,
            jumped_at: None,
        }
    }

    /// Takes the beginning of a round. Reports a jump of the clock since the last one.
    pub fn begin(&mut self, spots: &BlindSpots, now: Moment) {
        let jump = self.last.replace(now).and_then(|last| now.jump_since(last));
        if let Some(jump) = jump {
            self.jumped_at = Some(now.steady);
            let seconds = jump.unsigned_abs().div_ceil(1000);
            let by = duration::format(Duration::from_secs(seconds));
            let detail = match jump < 0 {
                true => format!("the clock of this machine was set back by {by}"),
                false => {
                    format!(
                        "the clock of this machine was set ahead by {by}, or the machine was suspended"
                    )
                }
            };
            spots.report(BlindSpotKind::ClockJump, CLOCK, &detail);
        }
        let is_over = |at: i64| u128::from(now.steady.abs_diff(at)) > JUMP_SHOWN.as_millis();
        if self.jumped_at.is_some_and(is_over) {
            self.jumped_at = None;
            spots.end(BlindSpotKind::ClockJump, CLOCK);
        }
    }

    /// Takes the duration of a round. Reports rounds that take longer than their interval.
    pub fn end(&mut self, spots: &BlindSpots, took: Duration) {
        count(&mut self.slow, took > self.interval);
        let detail = format!(
            "the last {} rounds took longer than their interval, the last one {}",
            self.slow,
            duration::format(took)
        );
        let detail = (self.slow >= SLOW_ROUNDS).then_some(detail);
        spots.set(BlindSpotKind::SlowRound, &self.subject, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the ids of the blind spots after a number of equal rounds.
    fn after(rounds: u32, watch: &mut SignalWatch, round: &RoundResult<'_>) -> Vec<&'static str> {
        let spots = BlindSpots::default();
        for _ in 0..rounds {
            watch.observe(&spots, "s", round);
        }
        spots.all().iter().map(|spot| spot.kind.id()).collect()
    }

    fn url() -> String {
        "http://p".to_owned()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of conditions")]
    fn each_condition_is_a_blind_spot_after_its_rounds_and_not_before() {
        let partial = SourceError::Partial {
            url: url(),
            reason: "a store is away".to_owned(),
        };
        let malformed = SourceError::Malformed {
            url: url(),
            reason: "no JSON".to_owned(),
        };
        let unreachable = SourceError::Unreachable {
            url: url(),
            reason: "refused".to_owned(),
        };
        let good = RoundResult {
            samples: 10,
            answered: 1,
            targets: 1,
            ..RoundResult::default()
        };
        let intake = |kept, late, future| RoundResult {
            intake: Intake { kept, late, future },
            ..good.clone()
        };
        let failing = |failure, targets| RoundResult {
            failure: Some(failure),
            targets,
            ..RoundResult::default()
        };
        for (name, round, rounds, id) in [
            ("all is well", good.clone(), 1_000, None),
            (
                "no sample",
                RoundResult::default(),
                NO_DATA_ROUNDS,
                Some("no_data"),
            ),
            (
                "lines that can't be used",
                RoundResult {
                    damage: Some("line 3"),
                    ..good.clone()
                },
                LOSS_ROUNDS,
                Some("partial_answer"),
            ),
            (
                "a ratio without traffic",
                RoundResult {
                    samples: 0,
                    ..good.clone()
                },
                1_000,
                None,
            ),
            (
                "partial",
                failing(&partial, 1),
                LOSS_ROUNDS,
                Some("partial_answer"),
            ),
            (
                "partial, with samples",
                RoundResult {
                    failure: Some(&partial),
                    ..good.clone()
                },
                LOSS_ROUNDS,
                Some("partial_answer"),
            ),
            (
                "no JSON",
                failing(&malformed, 1),
                FAILING_ROUNDS,
                Some("unusable_answer"),
            ),
            (
                "histograms only",
                RoundResult {
                    histograms: 2,
                    ..RoundResult::default()
                },
                FAILING_ROUNDS,
                Some("unusable_answer"),
            ),
            (
                "no connection, and no target",
                failing(&unreachable, 0),
                FAILING_ROUNDS,
                Some("source_fails"),
            ),
            (
                "no connection to a target",
                failing(&unreachable, 1),
                1_000,
                None,
            ),
            ("a few late samples", intake(90, 10, 0), 1_000, None),
            (
                "many late samples",
                intake(89, 11, 0),
                LOSS_ROUNDS,
                Some("samples_dropped"),
            ),
            (
                "future samples",
                intake(0, 0, 1),
                LOSS_ROUNDS,
                Some("samples_dropped"),
            ),
            (
                "a bus that is full",
                RoundResult {
                    lost: 1,
                    ..good.clone()
                },
                LOSS_ROUNDS,
                Some("samples_dropped"),
            ),
            (
                "too many series",
                RoundResult {
                    surplus: Some("7 beyond the limit"),
                    ..good.clone()
                },
                1,
                Some("too_many_series"),
            ),
            (
                "labels that can't be used",
                RoundResult {
                    refused: Some("one"),
                    ..good.clone()
                },
                1,
                Some("unacceptable_series"),
            ),
            (
                "intermittent series",
                RoundResult {
                    intermittent: Some("one"),
                    ..good.clone()
                },
                1,
                Some("intermittent_series"),
            ),
        ] {
            let mut watch = SignalWatch::default();
            let seen = after(rounds - 1, &mut watch, &round);
            assert_eq!(seen, Vec::<&str>::new(), "{name}: too early");
            let seen = after(1, &mut watch, &round);
            assert_eq!(seen, Vec::from_iter(id), "{name}");
            let seen = after(1, &mut watch, &good);
            assert_eq!(seen, Vec::<&str>::new(), "{name}: not over");
        }
    }

    #[test]
    fn a_clock_that_jumps_is_shown_for_a_while() {
        let spots = BlindSpots::default();
        let mut pace = PaceWatch::new("scrapes", Duration::from_secs(15));
        let round = |number: i64, jump: i64| Moment {
            wall: 1_700_000_000_000 + 15_000 * number + jump,
            steady: 15_000 * number,
        };
        for number in 0..3 {
            pace.begin(&spots, round(number, 0));
        }
        assert_eq!(spots.all(), []);
        pace.begin(&spots, round(3, -3_600_000));
        let all = spots.all();
        assert_eq!(all[0].kind, BlindSpotKind::ClockJump);
        assert!(all[0].detail.contains("set back by 1h"), "{all:?}");
        pace.begin(&spots, round(43, -3_600_000));
        assert_eq!(spots.all().len(), 1);
        pace.begin(&spots, round(44, -3_600_000));
        assert_eq!(spots.all(), []);
    }

    #[test]
    fn rounds_that_take_longer_than_their_interval_are_told() {
        let spots = BlindSpots::default();
        let second = Duration::from_secs(1);
        let mut pace = PaceWatch::new("scrapes", second);
        for _ in 1..SLOW_ROUNDS {
            pace.end(&spots, 2 * second);
        }
        assert_eq!(spots.all(), []);
        pace.end(&spots, 2 * second);
        assert_eq!(spots.all()[0].subject, "scrapes every 1s");
        pace.end(&spots, second);
        assert_eq!(spots.all(), []);
    }
}
