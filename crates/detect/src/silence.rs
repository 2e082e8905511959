//! That a source fell silent is the host's to find: a detector sees samples only.

use std::collections::HashMap;
use std::time::Duration;

use anomalyzer_domain::{
    Coverage, Direction, Finding, FindingId, Incident, Labels, Meaning, Phase, Target, UnixMs,
    millis,
};

/// Who says it, in place of a detector.
const HOST: &str = "host";

/// Most that are silent at once. Whoever may write to the topic could else fill the memory with
/// names.
const MOST: usize = 50_000;
/// What nobody speaks of for this long is forgotten when there is no room.
const IDLE_MS: i64 = 60 * 60 * 1000;

struct Silent {
    since: UnixMs,
    heard_at: UnixMs,
    told: bool,
}

/// Watches the coverage of each signal's targets. Knows only those that are silent.
pub(super) struct Silence {
    after: Duration,
    silent: HashMap<(String, Target), Silent>,
    /// How often there was no room for another one.
    pub(super) overlooked: u64,
}

impl Silence {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            silent: HashMap::new(),
            overlooked: 0,
        }
    }

    /// What an incident says of silence was told already, so that its end will be.
    pub(super) fn restore(&mut self, incident: &Incident) {
        for finding in incident.active().filter(|finding| finding.detector == HOST) {
            let silent = Silent {
                since: finding.onset_at,
                heard_at: finding.at,
                told: true,
            };
            self.silent
                .insert((finding.signal.clone(), incident.target.clone()), silent);
        }
    }

    /// Takes the coverage of one round; says when a source fell silent or came back.
    pub(super) fn observe(
        &mut self,
        signal: &str,
        target: &Target,
        now: UnixMs,
        coverage: Coverage,
    ) -> Option<Finding> {
        // Nobody asked says nothing. A source that answers without this signal (no traffic, no
        // quantile) is not silent; only failing is.
        if coverage.asked == 0 {
            return None;
        }
        if coverage.failed < coverage.asked {
            if self.silent.is_empty() {
                return None;
            }
            let Silent {
                since, told: true, ..
            } = self.silent.remove(&(signal.to_owned(), target.clone()))?
            else {
                return None;
            };
            return Some(finding(
                signal,
                target,
                since,
                now,
                Phase::Clear,
                0.0,
                "the source answers again".into(),
            ));
        }
        let key = (signal.to_owned(), target.clone());
        if self.silent.len() >= MOST && !self.silent.contains_key(&key) && !self.make_room(now) {
            self.overlooked += 1;
            return None;
        }
        let silent = self.silent.entry(key).or_insert(Silent {
            since: now,
            heard_at: now,
            told: false,
        });
        silent.heard_at = silent.heard_at.max(now);
        let silent_for = now.saturating_sub(silent.since);
        let after = millis(self.after);
        if silent.told || silent_for < after {
            return None;
        }
        silent.told = true;
        let reason = format!(
            "none of {} sources answered for {:.1} s: this is missing, not zero",
            coverage.asked,
            silent_for as f64 / 1000.0
        );
        Some(finding(
            signal,
            target,
            silent.since,
            now,
            Phase::Onset,
            1.0,
            reason,
        ))
    }

    /// Forgets what nobody speaks of any more.
    fn make_room(&mut self, now: UnixMs) -> bool {
        self.silent
            .retain(|_, silent| now.saturating_sub(silent.heard_at) < IDLE_MS);
        self.silent.len() < MOST
    }
}

fn finding(
    signal: &str,
    target: &Target,
    since: UnixMs,
    now: UnixMs,
    phase: Phase,
    score: f64,
    reason: String,
) -> Finding {
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
        let mut silence = Silence::new(Duration::from_millis(20));
        let target = Target::new("", "Process", "web");
        let mut phases = Vec::new();
        for (now, failed) in [(0, 0), (10, 1), (20, 1), (30, 1), (40, 1), (50, 0), (60, 0)] {
            let coverage = Coverage {
                asked: 1,
                answered: 1 - failed,
                failed,
            };
            phases.extend(
                silence
                    .observe("latency", &target, now, coverage)
                    .map(|finding| (now, finding.phase)),
            );
        }
        assert_eq!(phases, [(30, Phase::Onset), (50, Phase::Clear)]);
    }

    #[test]
    fn a_source_that_answers_without_the_signal_is_not_silent() {
        let mut silence = Silence::new(Duration::ZERO);
        let coverage = Coverage {
            asked: 1,
            answered: 0,
            failed: 0,
        };
        assert_eq!(
            silence.observe("latency", &Target::new("", "Process", "web"), 0, coverage),
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
        let told = Silence::new(Duration::ZERO)
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
        let mut silence = Silence::new(Duration::ZERO);
        silence.restore(&incident);
        assert_eq!(silence.observe("latency", &target, 20, failing), None);
        let end = silence.observe("latency", &target, 30, answering).unwrap();
        assert_eq!(
            (end.phase, end.id, end.onset_at),
            (Phase::Clear, told.id, 10)
        );
        assert_eq!(silence.observe("latency", &target, 40, answering), None);
    }

    #[test]
    fn of_too_many_silent_sources_the_idle_ones_are_forgotten_and_others_counted() {
        let mut silence = Silence::new(Duration::ZERO);
        let failing = Coverage {
            asked: 1,
            answered: 0,
            failed: 1,
        };
        let mut observe = |name: usize, now| {
            silence.observe(
                "s",
                &Target::new("", "Process", &name.to_string()),
                now,
                failing,
            );
            (silence.silent.len(), silence.overlooked)
        };
        for name in 0..MOST {
            observe(name, 0);
        }
        assert_eq!(observe(MOST, IDLE_MS - 1), (MOST, 1));
        assert_eq!(observe(0, IDLE_MS - 1), (MOST, 1));
        assert_eq!(observe(MOST, IDLE_MS), (2, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_time_makes_it_panic(times in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..9)) {
            let mut silence = Silence::new(Duration::from_secs(1));
            for at in times {
                let failing = Coverage { asked: 1, answered: 0, failed: 1 };
                silence.observe("s", &Target::new("", "Process", "web"), at, failing);
                silence.make_room(at);
            }
        }
    }
}
