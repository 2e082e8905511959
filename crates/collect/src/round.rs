//! The answers of one signal's sources in one round, and the batches published from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anomalyzer_domain::{Coverage, Labels, MetricBatch, Sample, Series, Target, UnixMs, millis};

use super::moment::Moment;
use super::reopenings::Reopenings;
use super::series_limit::SeriesLimit;
use super::{SignalConfig, SourceError};

/// Shortest step back of the wall clock, in milliseconds, after which all series begin anew.
/// Consumers drop late samples. After a shorter step they accept samples again soon enough.
const MIN_SET_BACK_MS: i64 = 10_000;
/// Longest step back that loses samples instead.
const MAX_SET_BACK_MS: i64 = 300_000;
/// Maximum number of characters of labels in a message.
pub(super) const MAX_SHOWN_LABELS: usize = 200;
/// Number of rounds of samples that may be lost to a step back.
const MAX_LOST_ROUNDS: i64 = 4;

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

/// Open series of one target.
#[derive(Clone, Debug)]
struct Known {
    series: BTreeSet<Labels>,
    /// Steady time at which the target last had a series.
    last_spoken: i64,
}

/// Bounds of one signal.
#[derive(Clone, Copy, Debug)]
pub struct PublishBounds {
    /// Maximum number of targets.
    pub max_targets: usize,
    /// Maximum number of series.
    pub max_series: usize,
    /// Time after which a target without series, and the place of a series that ended, is free.
    pub forget_after: Duration,
}

/// Targets and series that were published for one signal before. Each of these targets gets a batch
/// even if no source reports it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    bounds: PublishBounds,
    known: BTreeMap<Target, Known>,
    limit: SeriesLimit<()>,
    reopenings: Reopenings,
    /// Time of the last round, and the latest wall time since the series began.
    last: Option<(Moment, UnixMs)>,
    /// Number of series and targets of the last answer beyond the maximum.
    surplus: usize,
    /// Number of series of the last answer whose labels can't be used.
    refused: usize,
    /// The first of these series, and the reason.
    first_refused: Option<String>,
}

impl BatchBuilder {
    /// Creates a builder that has published nothing yet.
    pub fn new(bounds: PublishBounds) -> Self {
        Self {
            bounds,
            known: BTreeMap::new(),
            limit: SeriesLimit::new(bounds.max_series, bounds.forget_after),
            reopenings: Reopenings::default(),
            last: None,
            surplus: 0,
            refused: 0,
            first_refused: None,
        }
    }

    /// Makes one batch for each target that is known or was reported in `answer`.
    ///
    /// Closes a series with a stale marker, once, if it vanished from an answer in which no source
    /// failed. If a source failed, keeps all series open, because none of them is known to have
    /// ended, until they have been gone for long. Withheld series stay open too. If the wall clock
    /// was set back, closes all series and begins those with a value anew, because consumers would
    /// drop their samples as late.
    pub fn publish(
        &mut self,
        signal: &SignalConfig,
        now: Moment,
        mut answer: Answer,
    ) -> Vec<MetricBatch> {
        let begins_anew = self.is_set_back(now);
        let fixed = signal.target.fixed();
        self.refuse(&mut answer);
        self.bound(&mut answer, fixed, now);
        let stale = Sample::stale_marker(now.wall);
        let mut batches = Vec::with_capacity(self.known.len());
        for (target, known) in &mut self.known {
            let nothing = TargetSeries {
                coverage: answer.otherwise,
                ..TargetSeries::default()
            };
            let reported = answer.targets.remove(target).unwrap_or(nothing);
            let coverage = reported.coverage;
            let mut closed = match begins_anew {
                true => std::mem::take(&mut known.series),
                false => BTreeSet::new(),
            };
            let mut series = Vec::new();
            let published = known.update(reported, now, &self.limit, &mut self.reopenings);
            for (labels, sample) in published {
                let samples = match closed.remove(&labels) {
                    true => vec![stale, sample],
                    false => vec![sample],
                };
                series.push((labels, samples));
            }
            series.extend(closed.into_iter().map(|labels| (labels, vec![stale])));
            let named = |(labels, samples): (Labels, Vec<Sample>)| Series {
                labels: labels.with("__name__", &signal.name),
                samples,
            };
            batches.push(MetricBatch {
                signal: signal.name.clone(),
                target: Some(target.clone()),
                observed_at: now.wall,
                coverage,
                series: series.into_iter().map(named).collect(),
                foreign: false,
            });
        }
        let forget_after = millis(self.bounds.forget_after);
        self.known.retain(|target, known| {
            fixed == Some(target) || now.steady.saturating_sub(known.last_spoken) <= forget_after
        });
        self.reopenings.forget(now.steady, forget_after);
        batches
    }

    /// Returns true if the wall clock was set back so far that consumers would drop the samples of
    /// open series for a long time.
    fn is_set_back(&mut self, now: Moment) -> bool {
        let Some((last, latest)) = self.last else {
            self.last = Some((now, now.wall));
            return false;
        };
        let round = now.steady.saturating_sub(last.steady);
        let lost = round.saturating_mul(MAX_LOST_ROUNDS);
        let lost = lost.clamp(MIN_SET_BACK_MS, MAX_SET_BACK_MS);
        let is_set_back = now.wall < latest.saturating_sub(lost);
        let latest = match is_set_back {
            true => now.wall,
            false => latest.max(now.wall),
        };
        self.last = Some((now, latest));
        is_set_back
    }

    /// Leaves out the series whose labels can't be used. The labels of known series were checked
    /// before.
    fn refuse(&mut self, answer: &mut Answer) {
        (self.refused, self.first_refused) = (0, None);
        for reported in answer.targets.values_mut() {
            reported.series.retain(|(labels, _)| {
                let checked = match self.limit.has(labels) {
                    true => Ok(()),
                    false => labels.check(),
                };
                if let Err(error) = &checked {
                    self.refused += 1;
                    self.first_refused.get_or_insert_with(|| {
                        format!("{} {error}", labels.excerpt(MAX_SHOWN_LABELS))
                    });
                }
                checked.is_ok()
            });
        }
    }

    /// Adds the new targets, and leaves out the targets and series of an answer beyond the maximum.
    /// Known targets with series, and known series, keep their place.
    fn bound(&mut self, answer: &mut Answer, fixed: Option<&Target>, now: Moment) {
        self.surplus = 0;
        let new: BTreeSet<Target> = answer
            .targets
            .keys()
            .chain(fixed)
            .filter(|target| !self.known.contains_key(target))
            .cloned()
            .collect();
        let excess = (self.known.len() + new.len()).saturating_sub(self.bounds.max_targets);
        if excess > 0 {
            self.evict(excess, answer, fixed);
        }
        for target in new {
            if self.known.len() < self.bounds.max_targets {
                let known = Known {
                    series: BTreeSet::new(),
                    last_spoken: now.steady,
                };
                self.known.insert(target, known);
            } else if let Some(left_out) = answer.targets.remove(&target) {
                self.surplus += left_out.series.len().max(1);
            }
        }
        let instant = now.instant();
        self.limit.begin(instant);
        for reported in answer.targets.values_mut() {
            let limit = &mut self.limit;
            let before = reported.series.len();
            reported
                .series
                .retain(|(labels, _)| limit.admit(&(), labels, instant));
            self.surplus += before - reported.series.len();
        }
    }

    /// Forgets up to `count` targets that have no series, those that were silent for longest first.
    fn evict(&mut self, count: usize, answer: &Answer, fixed: Option<&Target>) {
        let mut idle: Vec<(i64, Target)> = self
            .known
            .iter()
            .filter(|(target, known)| {
                known.series.is_empty()
                    && fixed != Some(target)
                    && !answer.targets.contains_key(target)
            })
            .map(|(target, known)| (known.last_spoken, target.clone()))
            .collect();
        idle.sort();
        for (_, target) in idle.into_iter().take(count) {
            self.known.remove(&target);
        }
    }

    /// Returns the bounds.
    pub fn bounds(&self) -> PublishBounds {
        self.bounds
    }

    /// Returns the number of open series.
    pub fn series(&self) -> usize {
        self.known.values().map(|known| known.series.len()).sum()
    }

    /// Returns the number of known targets.
    pub fn targets(&self) -> usize {
        self.known.len()
    }

    /// Returns the number of series and targets of the last answer beyond the maximum.
    pub fn surplus(&self) -> usize {
        self.surplus
    }

    /// Describes the series of the last answer whose labels can't be used.
    pub fn refused(&self) -> Option<(usize, &str)> {
        Some((self.refused, self.first_refused.as_deref()?))
    }

    /// Returns the series that end and begin again and again.
    pub fn reopenings(&self) -> &Reopenings {
        &self.reopenings
    }
}

impl Known {
    /// Takes over the reported data. Returns the sample of each series, and a stale marker for each
    /// series that ended.
    fn update(
        &mut self,
        reported: TargetSeries,
        now: Moment,
        limit: &SeriesLimit<()>,
        reopenings: &mut Reopenings,
    ) -> Vec<(Labels, Sample)> {
        let TargetSeries {
            coverage,
            series,
            withheld,
        } = reported;
        let at = now.wall;
        let mut present: BTreeSet<Labels> =
            series.iter().map(|(labels, _)| labels.clone()).collect();
        let mut published: Vec<(Labels, Sample)> = series
            .into_iter()
            .map(|(labels, value)| (labels, Sample { at, value }))
            .collect();
        if !present.is_empty() {
            self.last_spoken = now.steady;
        }
        for labels in present.difference(&self.series) {
            reopenings.begin(labels, now.steady);
        }
        present.extend(withheld.intersection(&self.series).cloned());
        let has_ended = |labels: &Labels| coverage.failed == 0 || !limit.has(labels);
        let known = std::mem::take(&mut self.series);
        for labels in known {
            if present.contains(&labels) {
                continue;
            }
            if has_ended(&labels) {
                reopenings.end(&labels, now.steady);
                published.push((labels, Sample::stale_marker(at)));
            } else {
                present.insert(labels);
            }
        }
        self.series = present;
        published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str) -> SignalConfig {
        let text = format!(
            "name = 's'\nsource = {{ query = 'q' }}\ntarget = {{ kind = 'Pod', name = '{name}' }}"
        );
        toml::from_str(&text).unwrap()
    }

    /// Returns a builder that forgets after the given number of milliseconds.
    fn builder(forget_after: u64) -> BatchBuilder {
        bounded(1_000, 1_000, forget_after)
    }

    fn bounded(max_targets: usize, max_series: usize, forget_after: u64) -> BatchBuilder {
        BatchBuilder::new(PublishBounds {
            max_targets,
            max_series,
            forget_after: Duration::from_millis(forget_after),
        })
    }

    fn coverage(asked: u32, answered: u32, failed: u32) -> Coverage {
        Coverage {
            asked,
            answered,
            failed,
        }
    }

    fn answer(pod: &str, values: &[(&str, f64)], coverage: Coverage) -> Answer {
        let series = values
            .iter()
            .map(|(path, value)| (Labels::new([("path", *path)]), *value))
            .collect();
        let targets = [(
            Target::new("", "Pod", pod),
            TargetSeries {
                coverage,
                series,
                ..TargetSeries::default()
            },
        )]
        .into();
        Answer {
            targets,
            ..Answer::default()
        }
    }

    /// Returns path and value of each published series; a stale marker is shown as `gone`.
    fn shown(batch: &MetricBatch) -> Vec<String> {
        let shown = |series: &Series| {
            assert_eq!(series.labels.get("__name__"), Some("s"));
            let [sample] = series.samples[..] else {
                panic!("{series:?}")
            };
            let value = if sample.is_stale_marker() {
                "gone".to_owned()
            } else {
                sample.value.to_string()
            };
            format!("{} {value}", series.labels.get("path").unwrap())
        };
        batch.series.iter().map(shown).collect()
    }

    #[test]
    fn a_series_whose_value_is_withheld_goes_on() {
        let (signal, mut ledger) = (signal("p"), builder(10));
        let labels = || Labels::new([("path", "/a")]);
        ledger.publish(
            &signal,
            1.into(),
            answer("p", &[("/a", 1.0)], coverage(1, 1, 0)),
        );
        let mut later = answer("p", &[], coverage(2, 1, 0));
        later
            .targets
            .values_mut()
            .for_each(|spoken| spoken.withheld = [labels()].into());
        assert!(
            ledger.publish(&signal, 2.into(), later)[0]
                .series
                .is_empty()
        );
        let at_last = ledger.publish(&signal, 3.into(), answer("p", &[], coverage(2, 2, 0)));
        assert!(at_last[0].series[0].samples[0].is_stale_marker());
    }

    #[test]
    fn a_series_that_vanishes_from_an_answer_is_closed_once() {
        let (signal, mut ledger) = (signal("web"), builder(0));
        let mut publish = |at: i64, values: &[_]| {
            let batches =
                ledger.publish(&signal, at.into(), answer("web", values, coverage(1, 1, 0)));
            shown(&batches[0])
        };
        assert_eq!(publish(1, &[("/a", 1.0), ("/b", 2.0)]), ["/a 1", "/b 2"]);
        assert_eq!(publish(2, &[("/a", 1.0)]), ["/a 1", "/b gone"]);
        assert_eq!(publish(3, &[("/a", 1.0)]), ["/a 1"]);
        assert_eq!(publish(4, &[("/b", 3.0)]), ["/b 3", "/a gone"]);
    }

    #[test]
    fn where_somebody_failed_nothing_is_closed_and_the_coverage_says_who() {
        let (signal, mut ledger) = (signal("web"), builder(100));
        ledger.publish(
            &signal,
            1.into(),
            answer("web", &[("/a", 1.0), ("/b", 1.0)], coverage(2, 2, 0)),
        );
        let batches = ledger.publish(
            &signal,
            2.into(),
            answer("web", &[("/a", 1.0)], coverage(2, 1, 1)),
        );
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec!["/a 1".to_owned()], coverage(2, 1, 1))
        );
        let failed = Answer {
            otherwise: coverage(2, 0, 2),
            ..Answer::default()
        };
        let batches = ledger.publish(&signal, 3.into(), failed);
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec![], coverage(2, 0, 2))
        );
        assert_eq!(ledger.series(), 2);
    }

    #[test]
    fn a_fixed_target_is_spoken_of_before_anyone_ever_answered() {
        let failed = Answer {
            otherwise: coverage(1, 0, 1),
            ..Answer::default()
        };
        let batches = builder(0).publish(&signal("web"), 1.into(), failed);
        assert_eq!(batches.len(), 1);
        assert_eq!(
            (shown(&batches[0]), batches[0].coverage),
            (vec![], coverage(1, 0, 1))
        );
    }

    #[test]
    fn a_target_that_nobody_speaks_for_is_forgotten_after_a_while() {
        let (signal, mut ledger) = (signal("{{pod}}"), builder(10));
        ledger.publish(
            &signal,
            0.into(),
            answer("web-1", &[("/a", 1.0)], coverage(1, 1, 0)),
        );
        let nothing = || Answer {
            otherwise: coverage(1, 0, 0),
            ..Answer::default()
        };
        assert_eq!(
            shown(&ledger.publish(&signal, 5.into(), nothing())[0]),
            ["/a gone"]
        );
        assert_eq!(ledger.publish(&signal, 11.into(), nothing()).len(), 1);
        assert_eq!(ledger.publish(&signal, 12.into(), nothing()).len(), 0);
    }

    /// Returns the moment of a round every 15 seconds, with the wall clock set by `jump`.
    fn round(number: i64, jump: i64) -> Moment {
        Moment {
            wall: 1_700_000_000_000 + number * 15_000 + jump,
            steady: number * 15_000,
        }
    }

    #[test]
    fn a_clock_that_is_set_back_begins_the_series_anew_and_blocks_nothing() {
        let year = 365 * 24 * 3_600_000;
        // Each case lists by how much the clock was set in each round, and if series begin anew.
        for (jumps, anew) in [
            ([0, -1_000, -1_000], [false, false]),
            ([0, -60_000, -60_000], [false, false]),
            ([0, -3_600_000, -3_600_000], [true, false]),
            ([0, 3_600_000, 0], [false, true]),
            ([0, 10 * year, 0], [false, true]),
            ([0, -10 * year, 0], [true, false]),
        ] {
            let (signal, mut ledger) = (signal("web"), builder(3_600_000));
            let mut publish = |number: i64, answer| {
                let now = round(number, jumps[number as usize]);
                ledger.publish(&signal, now, answer).remove(0)
            };
            let both = [("/a", 1.0), ("/b", 1.0)];
            publish(0, answer("web", &both, coverage(2, 2, 0)));
            for number in [1, 2] {
                // One source fails in the second round, so that `/b` has no value.
                let answer = match number {
                    1 => answer("web", &both[..1], coverage(2, 1, 1)),
                    _ => answer("web", &both, coverage(2, 2, 0)),
                };
                let batch = publish(number, answer);
                let markers = batch.series.iter().flat_map(|series| &series.samples);
                let markers = markers.filter(|sample| sample.is_stale_marker()).count();
                let values = batch.series.iter().filter(|series| {
                    let last = series.samples.last();
                    last.is_some_and(|sample| sample.value == 1.0)
                });
                assert_eq!(values.count(), number as usize, "{jumps:?}");
                let open = 2;
                assert_eq!(
                    markers,
                    if anew[number as usize - 1] { open } else { 0 },
                    "{jumps:?} {number}"
                );
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_forgets_no_target_and_keeps_none_for_ever() {
        let (signal, mut ledger) = (signal("{{pod}}"), builder(20_000));
        let day = 24 * 3_600_000;
        ledger.publish(
            &signal,
            round(0, 3_650 * day),
            answer("web-1", &[("/a", 1.0)], coverage(1, 1, 0)),
        );
        let failed = |ledger: &mut BatchBuilder, now| {
            let otherwise = coverage(1, 0, 1);
            let failed = Answer {
                otherwise,
                ..Answer::default()
            };
            ledger.publish(&signal, now, failed).len()
        };
        assert_eq!(failed(&mut ledger, round(1, 0)), 1);
        assert_eq!(failed(&mut ledger, round(2, 7_300 * day)), 1);
        assert_eq!(failed(&mut ledger, round(3, 0)), 0);
    }

    #[test]
    fn a_series_that_comes_and_goes_is_intermittent() {
        let (signal, mut ledger) = (signal("web"), builder(3_600_000));
        for number in 0..8 {
            let values: &[_] = if number % 2 == 0 { &[("/a", 1.0)] } else { &[] };
            let answer = answer("web", values, coverage(1, 1, 0));
            ledger.publish(&signal, round(number, 0), answer);
        }
        assert!(ledger.reopenings().intermittent().is_some());
    }

    #[test]
    fn series_beyond_the_maximum_are_left_out_and_never_displace_open_ones() {
        let (signal, mut ledger) = (signal("{{path}}"), bounded(100, 100, 3_600_000));
        let honest = "honest";
        let mut with_flood = |number: i64, flood: usize| {
            let mut whole = answer("p", &[(honest, 1.0)], coverage(1, 1, 0));
            let spoken = whole.targets.values_mut().next().unwrap();
            let flood = (0..flood).map(|n| Labels::new([("path", format!("{number}-{n}"))]));
            spoken
                .series
                .splice(0..0, flood.map(|labels| (labels, 0.0)));
            let batches = ledger.publish(&signal, round(number, 0), whole);
            let values = batches[0].series.iter().filter(|series| {
                !series.samples[0].is_stale_marker() && series.labels.get("path") == Some(honest)
            });
            (values.count(), ledger.series(), ledger.surplus())
        };
        assert_eq!(with_flood(0, 0), (1, 1, 0));
        assert_eq!(with_flood(1, 101), (1, 100, 2));
        for round in 2..6 {
            assert_eq!(with_flood(round, 100), (1, 1, 100));
        }
    }

    #[test]
    fn targets_beyond_the_maximum_are_left_out_and_silent_ones_make_room() {
        let (signal, mut ledger) = (signal("{{path}}"), bounded(100, 1_000, 3_600_000));
        let mut publish = |number: i64, names: std::ops::Range<usize>| {
            let targets = names.map(|name| {
                let series = vec![(Labels::new([("path", name.to_string())]), 1.0)];
                let spoken = TargetSeries {
                    coverage: coverage(1, 1, 0),
                    series,
                    ..TargetSeries::default()
                };
                (Target::new("", "Pod", &format!("{name:06}")), spoken)
            });
            let answer = Answer {
                targets: targets.collect(),
                ..Answer::default()
            };
            ledger.publish(&signal, round(number, 0), answer);
            (ledger.targets(), ledger.series(), ledger.surplus())
        };
        let many = 100;
        assert_eq!(publish(0, 0..many + 2), (many, many, 2));
        // No target is silent yet when the next answer comes, and one is the round after.
        assert_eq!(publish(1, 1..many + 1), (many, many - 1, 1));
        assert_eq!(publish(2, 1..many + 1), (many, many, 0));
    }

    #[test]
    fn a_source_that_always_fails_keeps_no_series_open_for_ever() {
        let (signal, mut ledger) = (signal("web"), bounded(10, 1_000, 60_000));
        for number in 0..100 {
            let path = format!("/{number}");
            let answer = answer("web", &[(&path, 1.0)], coverage(2, 1, 1));
            ledger.publish(&signal, round(number, 0), answer);
            assert!(ledger.series() <= 6, "{}", ledger.series());
        }
    }

    #[test]
    fn a_series_with_labels_that_can_t_be_used_costs_itself_only_and_is_described() {
        let long = "x".repeat(anomalyzer_domain::MAX_LABEL_VALUE_BYTES + 1);
        for wrong in ["/\u{202e}a", "/\n", "\u{200b}", "\u{1b}[2J", &long] {
            let (signal, mut ledger) = (signal("p"), builder(10));
            let values = [("/a", 1.0), (wrong, 2.0), ("/b", 3.0)];
            let both = coverage(1, 1, 0);
            let batches = ledger.publish(&signal, 1.into(), answer("p", &values, both));
            assert_eq!(shown(&batches[0]), ["/a 1", "/b 3"], "{wrong:?}");
            let (count, first) = ledger.refused().unwrap();
            assert_eq!(count, 1);
            assert!(first.contains("`path`") && first.len() < 500, "{first}");
            assert!(!first.contains(anomalyzer_domain::is_hidden), "{first:?}");
            ledger.publish(&signal, 2.into(), answer("p", &[("/a", 1.0)], both));
            assert_eq!(ledger.refused(), None);
        }
    }
}
