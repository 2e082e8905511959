//! Audit: verifies the chains over the stored bytes and compares them with anchors that were kept
//! elsewhere.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::chain::{GENESIS, Hash, Link};
use super::{HistoryError, HistoryReader, chain};

/// One of the two chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chain {
    /// Events of decisions.
    Decisions,
    /// Events of plugins.
    Plugins,
}

impl Chain {
    /// Returns the name of the chain in texts and anchors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Plugins => "plugins",
        }
    }

    const fn query(self) -> &'static str {
        match self {
            Self::Decisions => {
                "SELECT seq, decision, at, kind, body, prev_hash, hash FROM decision_events ORDER BY seq"
            }
            Self::Plugins => {
                "SELECT seq, plugin, at, kind, body, prev_hash, hash FROM plugin_events ORDER BY seq"
            }
        }
    }
}

/// Head of a chain that was kept outside the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Chain of the head.
    pub chain: Chain,
    /// Sequence number of the event.
    pub seq: i64,
    /// SHA-256 of the event in hex.
    pub hash: String,
}

/// First event that differs from the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Sequence number of the event.
    pub seq: i64,
    /// Decision or plugin of the event; None if the event itself is missing.
    pub subject: Option<String>,
    /// Description of the difference.
    pub what: String,
}

/// Result of verifying a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walked {
    /// Chain that was verified.
    pub chain: Chain,
    /// Sequence number of the last pruned event; 0 if no event was pruned.
    pub cut: i64,
    /// Sequence number of the last valid event.
    pub events: i64,
    /// SHA-256 of the last valid event in hex; zeros if there is no event.
    pub hash: String,
    /// Time of the first event, in milliseconds since 1970.
    pub first_at: Option<i64>,
    /// Time of the last valid event, in milliseconds since 1970.
    pub last_at: Option<i64>,
    /// Number of anchors of this chain that match an event.
    pub anchored: usize,
    /// First invalid event, if there is one.
    pub broken: Option<Break>,
}

/// Last link of the chain. It should be anchored outside the file, because an editor of the file
/// can create a new chain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChainHead {
    /// Number of events.
    pub seq: i64,
    /// SHA-256 in hex.
    pub hash: String,
}

impl HistoryReader {
    /// Verifies both chains in one snapshot, so concurrent writes have no effect. Verification of a
    /// chain stops at its first invalid event.
    pub async fn audit(&self, anchors: &[Anchor]) -> Result<[Walked; 2], HistoryError> {
        let mut snapshot = self
            .pool
            .begin()
            .await
            .map_err(|error| self.failed(&error))?;
        let mut walk = async |chain: Chain| {
            let cut: Option<(i64, Vec<u8>)> = match chain {
                Chain::Decisions => {
                    sqlx::query_as("SELECT seq, hash FROM cuts ORDER BY seq DESC LIMIT 1")
                        .fetch_optional(&mut *snapshot)
                        .await
                        .map_err(|error| self.failed(&error))?
                }
                Chain::Plugins => None,
            };
            // The table checks the length of the hash, so the conversion can't fail.
            let cut = cut.map_or((0, GENESIS), |(seq, hash)| {
                (seq, hash.try_into().unwrap_or(GENESIS))
            });
            let mut walked = Walk::new(chain, anchors, cut);
            let mut rows = sqlx::query_as(chain.query()).fetch(&mut *snapshot);
            while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
                if !walked.step(&row) {
                    break;
                }
            }
            Ok(walked.end())
        };
        Ok([walk(Chain::Decisions).await?, walk(Chain::Plugins).await?])
    }

    /// Computes the chain of the decisions again from the stored events.
    ///
    /// # Errors
    /// Returns an error if the history can't be read, or if its events are not the recorded ones.
    pub async fn verify_chain(&self) -> Result<ChainHead, HistoryError> {
        let [decisions, _] = self.audit(&[]).await?;
        match decisions.broken {
            Some(Break { seq, what, .. }) => Err(HistoryError::BrokenChain {
                path: self.path().to_owned(),
                seq,
                reason: what,
            }),
            None => Ok(ChainHead {
                seq: decisions.events,
                hash: decisions.hash,
            }),
        }
    }
}

/// Exported event.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Exported<'a> {
    /// Chain of the event.
    pub chain: Chain,
    /// Position in the chain.
    pub seq: i64,
    /// Decision or plugin.
    pub subject: &'a str,
    /// Time of the event, in milliseconds since 1970.
    pub at: i64,
    /// Kind of the event.
    pub kind: &'a str,
    /// Stored text, not parsed, because the hash covers this text.
    pub body: &'a str,
    /// Hash of the previous event in hex.
    pub prev_hash: &'a str,
    /// Hash of the event in hex.
    pub hash: &'a str,
}

impl HistoryReader {
    /// Passes every event of both chains to `to`, one at a time and unverified. All events come
    /// from one snapshot.
    pub async fn export<E: From<HistoryError>>(
        &self,
        mut to: impl FnMut(&Exported<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut snapshot = self
            .pool
            .begin()
            .await
            .map_err(|error| self.failed(&error))?;
        for chain in [Chain::Decisions, Chain::Plugins] {
            let mut rows = sqlx::query_as::<_, Row>(chain.query()).fetch(&mut *snapshot);
            while let Some(row) = rows.try_next().await.map_err(|error| self.failed(&error))? {
                let (seq, subject, at, kind, body, prev_hash, hash) = &row;
                let body = std::str::from_utf8(body).map_err(|error| HistoryError::Unreadable {
                    path: self.path().to_owned(),
                    what: format!("event {seq} of {}", chain.as_str()),
                    reason: error.to_string(),
                })?;
                let (prev_hash, hash) = (&hex::encode(prev_hash), &hex::encode(hash));
                to(&Exported {
                    chain,
                    seq: *seq,
                    subject,
                    at: *at,
                    kind,
                    body,
                    prev_hash,
                    hash,
                })?;
            }
        }
        Ok(())
    }
}

/// Columns of an event: `seq`, decision or plugin, `at`, `kind`, `body`, `prev_hash`, `hash`.
type Row = (i64, String, i64, String, Vec<u8>, Vec<u8>, Vec<u8>);

struct Walk<'a> {
    anchors: Vec<&'a Anchor>,
    previous: Hash,
    walked: Walked,
}

impl<'a> Walk<'a> {
    /// Starts at `cut`, the sequence number and hash of the last pruned event.
    fn new(chain: Chain, anchors: &'a [Anchor], (cut, hash): (i64, Hash)) -> Self {
        let mut anchors: Vec<_> = anchors
            .iter()
            .filter(|anchor| anchor.chain == chain && anchor.seq >= cut)
            .collect();
        // The order is descending, so the next anchor is the last item.
        anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.seq));
        let previous = hash;
        let hash = hex::encode(hash);
        let walked = Walked {
            chain,
            cut,
            events: cut,
            hash,
            first_at: None,
            last_at: None,
            anchored: 0,
            broken: None,
        };
        let mut walk = Self {
            anchors,
            previous,
            walked,
        };
        if cut > 0
            && let Some(what) = walk.differs_from_anchor(cut, &hex::encode(previous))
        {
            walk.walked.broken = Some(Break {
                seq: cut,
                subject: None,
                what,
            });
        }
        walk
    }

    /// Returns true if the event is valid.
    fn step(&mut self, (seq, subject, at, kind, body, prev_hash, hash): &Row) -> bool {
        if self.walked.broken.is_some() {
            return false;
        }
        let expected = self.walked.events + 1;
        let link = Link {
            seq: *seq,
            decision: subject,
            at: *at,
            kind,
            body,
        };
        let computed = chain::hash(&self.previous, &link);
        let what = if *seq != expected {
            Some(format!(
                "event {expected} should be here: it was removed, or another one inserted"
            ))
        } else if *prev_hash != self.previous {
            Some(
                "it does not follow on the event before: it was edited, inserted or reordered"
                    .to_owned(),
            )
        } else if *hash != computed {
            Some("its columns do not give its hash: it was edited".to_owned())
        } else {
            self.differs_from_anchor(*seq, &hex::encode(computed))
        };
        if let Some(what) = what {
            self.walked.broken = Some(Break {
                seq: *seq,
                subject: Some(subject.clone()),
                what,
            });
            return false;
        }
        self.previous = computed;
        self.walked.events = *seq;
        self.walked.first_at.get_or_insert(*at);
        self.walked.last_at = Some(*at);
        true
    }

    fn differs_from_anchor(&mut self, seq: i64, hash: &str) -> Option<String> {
        while let Some(anchor) = self.anchors.pop_if(|anchor| anchor.seq <= seq) {
            // `<=` also catches an anchor whose `seq` no event can have.
            if anchor.seq != seq || !anchor.hash.eq_ignore_ascii_case(hash) {
                return Some(format!(
                    "the anchor has {} here: the chain up to it was computed anew",
                    anchor.hash
                ));
            }
            self.walked.anchored += 1;
        }
        None
    }

    fn end(mut self) -> Walked {
        self.walked.hash = hex::encode(self.previous);
        if let (None, Some(anchor)) = (&self.walked.broken, self.anchors.last()) {
            let what = format!(
                "it is anchored, and the chain ends at event {}: its end was removed",
                self.walked.events
            );
            self.walked.broken = Some(Break {
                seq: anchor.seq,
                subject: None,
                what,
            });
        }
        self.walked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: i64) -> Vec<Row> {
        let mut previous = GENESIS;
        (1..=count)
            .map(|seq| {
                let link = Link {
                    seq,
                    decision: "dec",
                    at: seq * 10,
                    kind: "ended",
                    body: b"{}",
                };
                let (before, hash) = (previous, chain::hash(&previous, &link));
                previous = hash;
                (
                    seq,
                    "dec".to_owned(),
                    seq * 10,
                    "ended".to_owned(),
                    b"{}".to_vec(),
                    before.to_vec(),
                    hash.to_vec(),
                )
            })
            .collect()
    }

    fn walk(rows: &[Row], anchors: &[Anchor]) -> Walked {
        let mut walk = Walk::new(Chain::Decisions, anchors, (0, GENESIS));
        let _ = rows.iter().all(|row| walk.step(row));
        walk.end()
    }

    fn broken_at(rows: &[Row], anchors: &[Anchor]) -> Option<i64> {
        walk(rows, anchors).broken.map(|broken| broken.seq)
    }

    #[test]
    fn every_single_edit_is_found_where_it_is() {
        let good = rows(6);
        assert_eq!(broken_at(&good, &[]), None);
        for at in 0..5_usize {
            let seq = good[at].0;
            let mut edited = good.clone();
            edited[at].4[0] ^= 1;
            assert_eq!(broken_at(&edited, &[]), Some(seq));
            let mut removed = good.clone();
            removed.remove(at);
            assert_eq!(broken_at(&removed, &[]), Some(seq + 1));
            let mut swapped = good.clone();
            swapped.swap(at, at + 1);
            assert_eq!(broken_at(&swapped, &[]), Some(seq + 1));
            let mut inserted = good.clone();
            inserted.insert(at, good[at].clone());
            assert_eq!(broken_at(&inserted, &[]), Some(seq));
        }
    }

    #[test]
    fn what_was_cut_off_at_the_beginning_is_followed_on_and_an_anchor_at_the_cut_is_compared() {
        let good = rows(6);
        let hash: Hash = good[2].6.clone().try_into().unwrap();
        let walk = |anchors: &[Anchor], hash| {
            let mut walk = Walk::new(Chain::Decisions, anchors, (3, hash));
            let _ = good[3..].iter().all(|row| walk.step(row));
            walk.end()
        };
        assert_eq!((walk(&[], hash).broken, walk(&[], hash).events), (None, 6));
        assert_eq!(walk(&[], [7; 32]).broken.unwrap().seq, 4);
        let anchor = |seq, hash: &str| Anchor {
            chain: Chain::Decisions,
            seq,
            hash: hash.to_owned(),
        };
        assert_eq!(
            walk(&[anchor(1, "00"), anchor(3, &hex::encode(hash))], hash).anchored,
            1
        );
        assert_eq!(walk(&[anchor(3, "00")], hash).broken.unwrap().seq, 3);
    }

    #[test]
    fn a_removed_end_and_a_new_chain_are_found_only_with_an_anchor() {
        let good = rows(6);
        let anchor = |hash: &str| Anchor {
            chain: Chain::Decisions,
            seq: 6,
            hash: hash.to_owned(),
        };
        let head = anchor(&walk(&good, &[]).hash);
        assert_eq!(walk(&good, std::slice::from_ref(&head)).anchored, 1);
        assert_eq!(broken_at(&good[..4], &[]), None);
        assert_eq!(broken_at(&good[..4], &[head]), Some(6));
        assert_eq!(broken_at(&good, &[anchor("00")]), Some(6));
    }
}
