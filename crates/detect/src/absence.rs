//! Detects sources that stopped answering. The host must do this, because a detector sees only
//! samples.

use std::collections::HashMap;
use std::time::Duration;

use super::pauses::ExcusedTime;
use anomalyzer_common::pause_watch::Pause;
use anomalyzer_domain::{
    Coverage, Direction, Finding, FindingId, Incident, Labels, Meaning, Phase, Target, UnixMs,
    millis,
};

/// Name of the detector in a finding about absence.
const HOST: &str = "host";

/// Maximum number of absent sources at one time. Without it, anyone who may write to the topic
/// could fill the memory with names.
const MAX_ABSENT: usize = 50_000;
/// Time after which a source without messages is forgotten if space is needed.
const IDLE_MS: i64 = 60 * 60 * 1000;

struct Absent {
    since: UnixMs,
    heard_at: UnixMs,
    reported: bool,
}

/// Watches the coverage of each signal and target. Holds only the pairs without an answer.
pub(super) struct AbsenceDetector {
    after: Duration,
    absent: HashMap<(String, Target), Absent>,
    /// Number of reports dropped because [`MAX_ABSENT`] was reached.
    pub(super) dropped: u64,
    /// The excused pauses.
    time: ExcusedTime,
}

impl AbsenceDetector {
    /// Reports a source after it failed for the time `after`.
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            absent: HashMap::new(),
            dropped: 0,
            time: ExcusedTime::default(),
        }
    }

    /// Continues with the absences that an incident reports, so that their end is reported too.
    pub(super) fn restore(&mut self, incident: &Incident) {
        for finding in incident.active().filter(|finding| finding.detector == HOST) {
            let absent = Absent {
                since: finding.onset_at,
                heard_at: finding.at,
                reported: true,
            };
            self.absent
                .insert((finding.signal.clone(), incident.target.clone()), absent);
        }
    }

    /// Takes the coverage of one round. Returns a finding if the sources have been absent for long
    /// enough, or answer again.
    pub(super) fn observe(
        &mut self,
        signal: &str,
        target: &Target,
        now: UnixMs,
        coverage: Coverage,
    ) -> Option<Finding> {
        // Without a question there is no absence. A source that answers without this signal (no
        // traffic, no quantile) is present. Only a failed request counts.
        if coverage.asked == 0 {
            return None;
        }
        if coverage.failed < coverage.asked {
            return self.end(signal, target, now);
        }
        let key = (signal.to_owned(), target.clone());
        if self.absent.len() >= MAX_ABSENT
            && !self.absent.contains_key(&key)
            && !self.make_room(now)
        {
            self.dropped += 1;
            return None;
        }
        let absent = self.absent.entry(key).or_insert(Absent {
            since: now,
            heard_at: now,
            reported: false,
        });
        absent.heard_at = absent.heard_at.max(now);
        if !absent.reported {
            // A clock that was ahead must not hide a silence for years.
            absent.since = absent.since.min(now);
        }
        let absent_for = self.time.passed(absent.since, now);
        if absent.reported || absent_for < millis(self.after) {
            return None;
        }
        absent.reported = true;
        let reason = format!(
            "none of {} sources answered for {:.1} s: this is missing, not zero",
            coverage.asked,
            absent_for as f64 / 1000.0
        );
        let since = absent.since;
        Some(finding(signal, target, since, now, Phase::Onset, reason))
    }

    /// Excuses a pause of this process or of the collector: that is no silence of the sources.
    pub(super) fn excuse(&mut self, pause: Pause) {
        self.time.excuse(pause);
    }

    /// Ends an absence. Returns a finding if the absence was reported.
    fn end(&mut self, signal: &str, target: &Target, now: UnixMs) -> Option<Finding> {
        // The usual case, which needs no key.
        if self.absent.is_empty() {
            return None;
        }
        let absent = self.absent.remove(&(signal.to_owned(), target.clone()))?;
        let reason = "the source answers again".to_owned();
        absent
            .reported
            .then(|| finding(signal, target, absent.since, now, Phase::Clear, reason))
    }

    /// Forgets sources without recent messages. Returns true if there is space now.
    fn make_room(&mut self, now: UnixMs) -> bool {
        self.absent
            .retain(|_, absent| now.saturating_sub(absent.heard_at) < IDLE_MS);
        self.absent.len() < MAX_ABSENT
    }
}

fn finding(
    signal: &str,
    target: &Target,
    since: UnixMs,
    now: UnixMs,
    phase: Phase,
    reason: String,
) -> Finding {
    let score = if phase == Phase::Clear { 0.0 } else { 1.0 };
    Finding {
        id: FindingId::derive(&[signal, &target.key(), HOST, &since.to_string()]),
        signal: signal.to_owned(),
        meaning: Meaning::Coverage,
        labels: Labels::default(),
        detector: HOST.into(),
        detector_digest: String::new(),
        onset_at: since,
        at: now,
        phase,
        direction: Direction::Shape,
        score,
        severity: score,
        observed: None,
        expected: None,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_after_its_time_and_so_is_its_end() {
        let mut absence = AbsenceDetector::new(Duration::from_millis(20));
        let target = Target::new("", "Process", "web");
        let mut phases = Vec::new();
        for (now, failed) in [(0, 0), (10, 1), (20, 1), (30, 1), (40, 1), (50, 0), (60, 0)] {
            let coverage = Coverage {
                asked: 1,
                answered: 1 - failed,
                failed,
            };
            phases.extend(
                absence
                    .observe("latency", &target, now, coverage)
                    .map(|finding| (now, finding.phase)),
            );
        }
        assert_eq!(phases, [(30, Phase::Onset), (50, Phase::Clear)]);
    }

    /// Coverage of a round in which the only source failed.
    const FAILING: Coverage = Coverage {
        asked: 1,
        answered: 0,
        failed: 1,
    };

    #[test]
    fn a_pause_of_this_process_is_no_silence_of_the_sources() {
        let mut absence = AbsenceDetector::new(Duration::from_millis(100));
        let target = Target::new("", "Process", "web");
        let observe = |absence: &mut AbsenceDetector, now| {
            absence.observe("latency", &target, now, FAILING).is_some()
        };
        assert!(!observe(&mut absence, 0));
        absence.excuse(Pause {
            from: 10,
            to: 60_010,
        });
        assert!(!observe(&mut absence, 60_050), "60 s were a pause");
        assert!(
            observe(&mut absence, 60_100),
            "silent for 100 ms besides the pause"
        );
    }

    #[test]
    fn a_clock_that_was_ahead_hides_no_silence() {
        let mut absence = AbsenceDetector::new(Duration::from_millis(100));
        let target = Target::new("", "Process", "web");
        let ten_years = 10 * 365 * 24 * 3600 * 1000;
        let told = [ten_years, 0, 50, 100]
            .map(|now| absence.observe("latency", &target, now, FAILING).is_some());
        assert_eq!(told, [false, false, false, true]);
    }

    #[test]
    fn a_source_that_answers_without_the_signal_is_not_silent() {
        let mut absence = AbsenceDetector::new(Duration::ZERO);
        let coverage = Coverage {
            asked: 1,
            answered: 0,
            failed: 0,
        };
        assert_eq!(
            absence.observe("latency", &Target::new("", "Process", "web"), 0, coverage),
            None
        );
    }

    #[test]
    fn a_silence_that_was_told_before_a_restart_ends_once_and_is_not_told_again() {
        let target = Target::new("", "Process", "web");
        let (failing, answering) = (
            Coverage {
                asked: 1,
                answered: 0,
                failed: 1,
            },
            Coverage {
                asked: 1,
                answered: 1,
                failed: 0,
            },
        );
        let told = AbsenceDetector::new(Duration::ZERO)
            .observe("latency", &target, 10, failing)
            .unwrap();
        let incident = Incident {
            id: "inc-1".into(),
            target: target.clone(),
            opened_at: 10,
            changed_at: 10,
            cleared_at: None,
            findings: vec![told.clone()],
            coverage: failing,
            samples: vec![],
            foreign: false,
        };
        let mut absence = AbsenceDetector::new(Duration::ZERO);
        absence.restore(&incident);
        assert_eq!(absence.observe("latency", &target, 20, failing), None);
        let end = absence.observe("latency", &target, 30, answering).unwrap();
        assert_eq!(
            (end.phase, end.id, end.onset_at),
            (Phase::Clear, told.id, 10)
        );
        assert_eq!(absence.observe("latency", &target, 40, answering), None);
    }

    #[test]
    fn of_too_many_silent_sources_the_idle_ones_are_forgotten_and_others_counted() {
        let mut absence = AbsenceDetector::new(Duration::ZERO);
        let failing = Coverage {
            asked: 1,
            answered: 0,
            failed: 1,
        };
        let mut observe = |name: usize, now| {
            absence.observe(
                "s",
                &Target::new("", "Process", &name.to_string()),
                now,
                failing,
            );
            (absence.absent.len(), absence.dropped)
        };
        for name in 0..MAX_ABSENT {
            observe(name, 0);
        }
        assert_eq!(observe(MAX_ABSENT, IDLE_MS - 1), (MAX_ABSENT, 1));
        assert_eq!(observe(0, IDLE_MS - 1), (MAX_ABSENT, 1));
        assert_eq!(observe(MAX_ABSENT, IDLE_MS), (2, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
            let mut absence = AbsenceDetector::new(Duration::from_secs(1));
            for at in times {
                let failing = Coverage { asked: 1, answered: 0, failed: 1 };
                absence.observe("s", &Target::new("", "Process", "web"), at, failing);
                absence.make_room(at);
            }
        }
    }
}
