//! Ids derived from the content that they name, so that a repeated item is recognised.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Returns the first 16 hex digits of SHA-256 over the parts. Each part is preceded by its length
/// so that no two lists of parts collide.
pub fn derive(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..8])
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Derives the id from the parts that define it.
            pub fn derive(parts: &[&str]) -> Self {
                Self(format!(concat!($prefix, "-{}"), derive(parts)))
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

id!(
    /// Id of a finding: hash(signal, labels, detector digest, onset).
    FindingId,
    "find"
);
id!(
    /// Id of an incident: hash(target, first finding).
    IncidentId,
    "inc"
);
id!(
    /// Id of a decision: hash(incident, solution, attempt).
    DecisionId,
    "dec"
);
id!(
    /// Id of an operation: hash(decision, step).
    OperationId,
    "op"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_join_to_the_same_text_get_different_ids() {
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        assert_eq!(FindingId::derive(&["a"]), FindingId::derive(&["a"]));
    }
}
