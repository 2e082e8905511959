//! Audit: verifies the chains over the stored bytes and compares them with anchors that were kept
//! elsewhere.

use futures::TryStreamExt;
use serde::Serialize;

use sqlx::SqliteConnection;

use super::chain::{GENESIS, Hash, Link};
use super::chains::{Anchor, Break, Chain};
use super::cuts::{CutRules, Cuts};
use super::walked::Walked;
use super::{HistoryError, HistoryReader, chain, derived, derived_cuts, heads};

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
    /// Verifies all chains and the tables that are derived from them, in one snapshot, so
    /// concurrent writes have no effect. Verification of a chain stops at its first invalid event.
    pub async fn audit(&self, anchors: &[Anchor]) -> Result<[Walked; 4], HistoryError> {
        self.audit_with(anchors, None).await
    }

    /// Verifies like [`HistoryReader::audit`]. The cuts must also fit `rules`, if they are given.
    pub async fn audit_with(
        &self,
        anchors: &[Anchor],
        rules: Option<&CutRules>,
    ) -> Result<[Walked; 4], HistoryError> {
        let mut snapshot = self
            .pool
            .begin()
            .await
            .map_err(|error| self.failed(&error))?;
        let failed = |error: sqlx::Error| self.failed(&error);
        let (mut walked_cuts, cuts) = walk_cuts(&mut snapshot, anchors, rules)
            .await
            .map_err(failed)?;
        let mut walked = Vec::with_capacity(3);
        for chain in [Chain::Decisions, Chain::Plugins, Chain::Incidents] {
            walked.push(
                walk_after_cut(&mut snapshot, chain, anchors, &cuts)
                    .await
                    .map_err(failed)?,
            );
        }
        if walked_cuts.broken.is_none() {
            walked_cuts.broken = cuts.problem();
        }
        if walked_cuts.broken.is_none() {
            walked_cuts.differs = derived_cuts::difference(&mut snapshot, &cuts)
                .await
                .map_err(failed)?;
        }
        for walked in &mut walked {
            // The tables say nothing if the events are not the recorded ones.
            if walked.broken.is_none() {
                walked.differs = derived::difference(&mut snapshot, walked)
                    .await
                    .map_err(failed)?;
            }
        }
        let [decisions, plugins, incidents] =
            <[Walked; 3]>::try_from(walked).map_err(|_| HistoryError::Closed {
                path: self.path().to_owned(),
            })?;
        Ok([decisions, plugins, incidents, walked_cuts])
    }

    /// Verifies like [`HistoryReader::audit_with`], and compares the chains with the heads in the
    /// file beside the history too. These heads do not count as anchors.
    pub async fn audit_with_heads(
        &self,
        anchors: &[Anchor],
        rules: Option<&CutRules>,
    ) -> Result<[Walked; 4], HistoryError> {
        // The heads are never newer than the history, so they are read first.
        let heads = heads::beside(self.path());
        let all = [anchors, &heads].concat();
        let mut walked = self.audit_with(&all, rules).await?;
        for walked in &mut walked {
            let cut = walked.cut;
            let of_chain = heads.iter().filter(|head| head.chain == walked.chain);
            let (pruned, found): (Vec<_>, Vec<_>) = of_chain.partition(|head| head.seq <= cut);
            walked.anchored = walked.anchored.saturating_sub(found.len());
            walked.pruned_anchors = walked.pruned_anchors.saturating_sub(pruned.len());
        }
        Ok(walked)
    }

    /// Computes the chain of the decisions again from the stored events.
    ///
    /// # Errors
    /// Returns an error if the history can't be read, or if its events are not the recorded ones.
    pub async fn verify_chain(&self) -> Result<ChainHead, HistoryError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let mut snapshot = self.pool.begin().await.map_err(failed)?;
        let (_, cuts) = walk_cuts(&mut snapshot, &[], None).await.map_err(failed)?;
        let decisions = walk_after_cut(&mut snapshot, Chain::Decisions, &[], &cuts)
            .await
            .map_err(failed)?;
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

/// Walks the chain of the cuts. Returns the cuts that it records too.
pub(super) async fn walk_cuts(
    snapshot: &mut SqliteConnection,
    anchors: &[Anchor],
    rules: Option<&CutRules>,
) -> sqlx::Result<(Walked, Cuts)> {
    let mut cuts = Cuts::under(rules);
    let mut walk = Walk::new(Chain::Cuts, anchors, (0, GENESIS));
    let mut rows = sqlx::query_as(Chain::Cuts.query()).fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        if !walk.step(&row) {
            break;
        }
        let (seq, chain, at, kind, body, ..) = &row;
        cuts.take(*seq, chain, *at, kind, body);
    }
    let mut walked = walk.end();
    if walked.events == 0 && walked.broken.is_none() {
        walked.broken = Some(Break {
            seq: 1,
            subject: None,
            what: "its first event was removed".to_owned(),
        });
    }
    Ok((walked, cuts))
}

/// Walks a chain from its last recorded cut.
async fn walk_after_cut(
    snapshot: &mut SqliteConnection,
    chain: Chain,
    anchors: &[Anchor],
    cuts: &Cuts,
) -> sqlx::Result<Walked> {
    let stored: Vec<i64> = match chain.cuts() {
        Some(table) => {
            let query = format!("SELECT seq FROM {table} ORDER BY seq");
            sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .fetch_all(&mut *snapshot)
                .await?
        }
        None => Vec::new(),
    };
    let cut = cuts.last(chain);
    let mut walk = Walk::new(chain, anchors, cut);
    walk.walked.cut_by_earlier_version = cuts.is_of_earlier_version(chain, cut.0);
    let mut rows = sqlx::query_as(chain.query()).fetch(snapshot);
    while let Some(row) = rows.try_next().await? {
        if !walk.step(&row) {
            break;
        }
    }
    let mut walked = walk.end();
    // A cut that nobody recorded explains why events are missing after the recorded ones.
    if walked.events == cut.0
        && let Some(what) = cuts.unconfirmed(chain, &stored)
    {
        let seq = walked
            .broken
            .as_ref()
            .map_or(cut.0 + 1, |broken| broken.seq);
        let subject = None;
        walked.broken = Some(Break { seq, subject, what });
    }
    if walked.cut > 0 && walked.events == walked.cut && walked.broken.is_none() {
        // The retention always keeps the last event.
        walked.broken = Some(Break {
            seq: walked.cut + 1,
            subject: None,
            what: "no event is left after the cut: they were removed".to_owned(),
        });
    }
    Ok(walked)
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
    /// Passes every event of all chains to `to`, one at a time and unverified. All events come
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
        for chain in Chain::ALL {
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
        let (pruned, mut anchors): (Vec<_>, Vec<_>) = anchors
            .iter()
            .filter(|anchor| anchor.chain == chain)
            .partition(|anchor| anchor.seq <= cut);
        // The order is descending, so the next anchor is the last item.
        anchors.sort_by_key(|anchor| std::cmp::Reverse(anchor.seq));
        let previous = hash;
        let hash = hex::encode(hash);
        let other = pruned
            .iter()
            .find(|anchor| anchor.seq == cut && !anchor.hash.eq_ignore_ascii_case(&hash))
            .map(|anchor| differs_from(anchor));
        let walked = Walked {
            chain,
            cut,
            cut_by_earlier_version: false,
            events: cut,
            hash,
            first_at: None,
            last_at: None,
            anchored: 0,
            pruned_anchors: pruned.len(),
            broken: None,
            differs: None,
        };
        let mut walk = Self {
            anchors,
            previous,
            walked,
        };
        if let Some(what) = other {
            walk.breaks_at(cut, None, what);
        }
        walk
    }

    /// Notes a break, unless there is one already.
    fn breaks_at(&mut self, seq: i64, subject: Option<String>, what: String) {
        self.walked
            .broken
            .get_or_insert(Break { seq, subject, what });
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
                return Some(differs_from(anchor));
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

fn differs_from(anchor: &Anchor) -> String {
    format!(
        "the anchor has {} here: the chain up to it was computed anew",
        anchor.hash
    )
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
        let walked = walk(
            &[
                anchor(1, "00"),
                anchor(3, &hex::encode(hash)),
                anchor(6, &hex::encode(&good[5].6)),
            ],
            hash,
        );
        // The event at the cut is gone, so its anchor proves nothing.
        assert_eq!((walked.anchored, walked.pruned_anchors), (1, 2));
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
