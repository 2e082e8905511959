//! Cuts: events that say which chain was pruned, up to which event, and under which retention. The
//! tables `cuts` and `incident_cuts` are derived from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chain::{GENESIS, Hash};
use super::chains::{Break, Chain};
use super::retention_config::RetentionConfig;
use anomalyzer_domain::{UnixMs, millis, rfc3339};

/// Kind of the first event: the state in which this version found the file.
pub(super) const BEGUN: &str = "begun";
/// Kind of an event about a pruning.
pub(super) const CUT: &str = "cut";
/// Kind of an event about a log of record that no longer had its beginning.
pub(super) const LOG_START: &str = "log_start";

/// Body of the first event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Last pruned event of the decisions, if an earlier version pruned.
    pub cut: Option<Position>,
}

/// Event of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub seq: i64,
    /// SHA-256 in hex.
    pub hash: String,
}

/// Retention under which a cut was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CutReason {
    /// Age from which events are pruned, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_for_ms: Option<i64>,
    /// Maximum size of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Size of the file before the cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Body of a cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// Last pruned event.
    #[serde(flatten)]
    pub last: Position,
    /// Time of the last pruned event.
    pub last_at: UnixMs,
    #[serde(flatten)]
    pub reason: CutReason,
}

/// Configuration that the cuts must fit.
#[derive(Clone, Debug)]
pub struct CutRules {
    /// Retention under which events are pruned.
    pub retention: RetentionConfig,
    /// True if the decisions are read from a log of record. Such a log may lose its beginning.
    pub has_log_of_record: bool,
}

/// Cut as the chain of the cuts records it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecordedCut {
    /// Last pruned event.
    pub last: Position,
    /// Time of that event, and of the cut. An earlier version recorded neither.
    pub times: Option<(UnixMs, UnixMs)>,
}

/// Cuts of all chains, collected while the chain of the cuts is walked.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// Configuration that the cuts must fit, if it is known.
    rules: Option<CutRules>,
    begun: Option<Begun>,
    /// Recorded cuts by chain and sequence number.
    recorded: BTreeMap<(String, i64), RecordedCut>,
    problem: Option<Break>,
}

impl Cuts {
    /// Creates a collection of cuts that must fit `rules`, if they are given.
    pub(super) fn under(rules: Option<&CutRules>) -> Self {
        Self {
            rules: rules.cloned(),
            ..Self::default()
        }
    }

    /// Takes the next event of the chain. The cut must fit the retention that it names, and the
    /// configured one.
    pub(super) fn take(&mut self, seq: i64, chain: &str, at: UnixMs, kind: &str, body: &[u8]) {
        let wrong = if seq == 1 {
            match (kind, serde_json::from_slice(body)) {
                (BEGUN, Ok(begun)) => {
                    self.begun = Some(begun);
                    None
                }
                _ => Some("it is not the first event of this chain".to_owned()),
            }
        } else {
            match serde_json::from_slice::<Cut>(body) {
                Ok(cut) => {
                    let wrong = does_not_fit(kind, &cut, at, self.rules.as_ref());
                    let key = (chain.to_owned(), cut.last.seq);
                    let times = Some((cut.last_at, at));
                    let last = cut.last;
                    self.recorded.insert(key, RecordedCut { last, times });
                    wrong
                }
                Err(error) => Some(format!("it is no cut: {error}")),
            }
        };
        if let Some(what) = wrong {
            self.problem.get_or_insert(Break {
                seq,
                subject: Some(chain.to_owned()),
                what,
            });
        }
    }

    /// Returns the first cut that no retention allows.
    pub(super) fn problem(&self) -> Option<Break> {
        self.problem.clone()
    }

    /// Returns the cuts of a chain by sequence number. The cuts of an earlier version count as one,
    /// up to the last of them.
    pub(super) fn of(&self, chain: Chain) -> BTreeMap<i64, RecordedCut> {
        let earlier = self.earlier(chain).map(|last| RecordedCut {
            last: last.clone(),
            times: None,
        });
        let earlier = earlier.map(|cut| (cut.last.seq, cut));
        let recorded = self.recorded.iter();
        let recorded = recorded.filter(|((of, _), _)| of == chain.as_str());
        let recorded = recorded.map(|((_, seq), cut)| (*seq, cut.clone()));
        earlier.into_iter().chain(recorded).collect()
    }

    /// Returns the sequence number and the hash of the last pruned event of a chain.
    pub(super) fn last(&self, chain: Chain) -> (i64, Hash) {
        let last = self.of(chain).pop_last();
        last.and_then(|(seq, cut)| {
            let hash = hex::decode(&cut.last.hash).ok()?;
            Some((seq, hash.try_into().ok()?))
        })
        .unwrap_or((0, GENESIS))
    }

    /// Returns the reason why a chain does not begin where the recorded cuts say. `stored` are the
    /// cuts that the file has.
    pub(super) fn unconfirmed(&self, chain: Chain, stored: &[i64]) -> Option<String> {
        let recorded = self.of(chain);
        let earlier = self.earlier(chain).map_or(0, |earlier| earlier.seq);
        let unknown = |seq: &&i64| **seq > earlier && !recorded.contains_key(*seq);
        let seq = stored.iter().find(unknown)?;
        Some(format!(
            "the events up to {seq} were removed, and no recorded cut says so"
        ))
    }

    /// Returns true if an earlier version made the cut.
    pub(super) fn is_of_earlier_version(&self, chain: Chain, seq: i64) -> bool {
        self.earlier(chain)
            .is_some_and(|earlier| earlier.seq == seq)
    }

    /// Returns the last cut of an earlier version.
    pub(super) fn earlier(&self, chain: Chain) -> Option<&Position> {
        let begun = self.begun.as_ref().filter(|_| chain == Chain::Decisions)?;
        begun.cut.as_ref()
    }
}

/// Returns the reason why no retention allows the cut.
fn does_not_fit(kind: &str, cut: &Cut, cut_at: UnixMs, rules: Option<&CutRules>) -> Option<String> {
    if kind == LOG_START {
        let has_no_log = rules.is_some_and(|rules| !rules.has_log_of_record);
        return has_no_log.then(|| {
            format!(
                "it says that the log of record lost its events up to {}, and no log of record is configured",
                cut.last.seq
            )
        });
    }
    let CutReason {
        keep_for_ms,
        max_bytes,
        bytes,
    } = cut.reason;
    let old_enough = |keep_for: i64| cut.last_at.saturating_add(keep_for) <= cut_at;
    let too_large = |max_bytes: u64| bytes.is_some_and(|bytes| bytes > max_bytes);
    if !keep_for_ms.is_some_and(old_enough) && !max_bytes.is_some_and(too_large) {
        return Some(format!(
            "it removed events up to {} at {}, which its retention does not allow",
            rfc3339(cut.last_at),
            rfc3339(cut_at)
        ));
    }
    let RetentionConfig {
        keep_for,
        max_bytes,
    } = &rules?.retention;
    let allowed = keep_for.is_some_and(|keep_for| old_enough(millis(keep_for)))
        || max_bytes.is_some_and(too_large);
    (!allowed).then(|| {
        format!(
            "it removed events up to {} at {}, which the configured retention does not allow",
            rfc3339(cut.last_at),
            rfc3339(cut_at)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cut(reason: CutReason) -> Vec<u8> {
        let last = Position {
            seq: 40,
            hash: "00".to_owned(),
        };
        serde_json::to_vec(&Cut {
            last,
            last_at: 1_000,
            reason,
        })
        .unwrap()
    }

    fn problem(reason: CutReason, retention: Option<&RetentionConfig>) -> Option<i64> {
        let rules = retention.map(|retention| CutRules {
            retention: retention.clone(),
            has_log_of_record: false,
        });
        let mut cuts = Cuts::under(rules.as_ref());
        cuts.take(1, "history", 0, BEGUN, br#"{"cut":null}"#);
        cuts.take(2, "decisions", 5_000, CUT, &cut(reason));
        cuts.problem().map(|broken| broken.seq)
    }

    #[test]
    fn a_cut_must_fit_its_own_retention_and_the_configured_one() {
        let age = |keep_for_ms| CutReason {
            keep_for_ms: Some(keep_for_ms),
            ..CutReason::default()
        };
        let size = |bytes| CutReason {
            max_bytes: Some(100),
            bytes: Some(bytes),
            ..CutReason::default()
        };
        let keep = |ms| {
            Some(RetentionConfig {
                keep_for: Some(Duration::from_millis(ms)),
                max_bytes: None,
            })
        };
        let none = Some(RetentionConfig {
            keep_for: None,
            max_bytes: None,
        });
        let cases = [
            (age(4_000), None, true),
            (age(4_001), None, false),
            (CutReason::default(), None, false),
            (size(101), None, true),
            (size(100), None, false),
            (age(4_000), keep(4_000), true),
            (age(1), keep(4_001), false),
            (age(1), none, false),
        ];
        for (reason, retention, fits) in cases {
            let found = problem(reason, retention.as_ref());
            assert_eq!(found.is_none(), fits, "{reason:?} under {retention:?}");
        }
    }

    #[test]
    fn only_a_log_of_record_may_lose_its_beginning() {
        for (has_log_of_record, fits) in [(None, true), (Some(true), true), (Some(false), false)] {
            let rules = has_log_of_record.map(|has_log_of_record| CutRules {
                retention: RetentionConfig::default(),
                has_log_of_record,
            });
            let mut cuts = Cuts::under(rules.as_ref());
            cuts.take(1, "history", 0, BEGUN, br#"{"cut":null}"#);
            let body = cut(CutReason::default());
            cuts.take(2, "decisions", 5_000, LOG_START, &body);
            assert_eq!(cuts.problem().is_none(), fits, "{has_log_of_record:?}");
        }
    }

    #[test]
    fn only_the_cut_of_an_earlier_version_needs_no_event_of_its_own() {
        let mut cuts = Cuts::default();
        let begun = br#"{"cut":{"seq":30,"hash":"1e"}}"#;
        cuts.take(1, "history", 0, BEGUN, begun);
        let confirmed = |all: &[i64]| cuts.unconfirmed(Chain::Decisions, all).is_none();
        assert!(confirmed(&[]) && confirmed(&[10, 30]));
        assert!(!confirmed(&[30, 31]), "a later one");
        assert!(
            cuts.unconfirmed(Chain::Incidents, &[30]).is_some(),
            "an earlier version did not have this chain"
        );
        assert_eq!(cuts.of(Chain::Decisions)[&30].last.hash, "1e");
        assert!(cuts.is_of_earlier_version(Chain::Decisions, 30));
    }
}
