//! Hash chain over the events: SHA-256 over the bytes as they are stored.

use sha2::{Digest, Sha256};

/// SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// Predecessor hash of the first event.
pub(super) const GENESIS: Hash = [0; 32];

/// Columns of one event as they are stored.
pub(super) struct Link<'a> {
    pub seq: i64,
    /// Subject of the event: a decision, or a plugin in the other chain.
    pub decision: &'a str,
    pub at: i64,
    pub kind: &'a str,
    pub body: &'a [u8],
}

/// Returns the hash of an event. Each text is preceded by its length, so that no two events have
/// the same bytes.
pub(super) fn hash(previous: &Hash, link: &Link<'_>) -> Hash {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(link.seq.to_be_bytes());
    hash.update(link.at.to_be_bytes());
    for part in [link.decision.as_bytes(), link.kind.as_bytes(), link.body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_counts() {
        let link = |seq, decision, at, kind, body| {
            hash(
                &GENESIS,
                &Link {
                    seq,
                    decision,
                    at,
                    kind,
                    body,
                },
            )
        };
        let all = [
            link(1, "a", 1, "ended", b"{}"),
            link(2, "a", 1, "ended", b"{}"),
            link(1, "b", 1, "ended", b"{}"),
            link(1, "a", 2, "ended", b"{}"),
            link(1, "a", 1, "ende", b"d{}"),
            link(1, "a", 1, "ended", b"{ }"),
            hash(
                &[1; 32],
                &Link {
                    seq: 1,
                    decision: "a",
                    at: 1,
                    kind: "ended",
                    body: b"{}",
                },
            ),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
