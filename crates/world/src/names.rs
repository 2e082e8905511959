//! Names of entities: several names may lead to one key.

use std::collections::{BTreeMap, BTreeSet};

use anomalyzer_domain::is_hidden;

use crate::entity::EntityKey;

/// Maximum number of keys kept for one name. A name of more entities names none of them.
const MAX_MEANINGS: usize = 8;

/// Maximum length of a name, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Result of looking up a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The name leads to one entity.
    Known(EntityKey),
    /// No entity has this name.
    Unknown,
    /// Several entities have this name, in the order of their keys.
    Ambiguous(Vec<EntityKey>),
}

/// Table of names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names(BTreeMap<String, BTreeSet<EntityKey>>);

impl Names {
    /// Adds a name. Returns false if the name is unusable: empty, too long, or with hidden
    /// characters.
    pub fn add(&mut self, name: &str, key: &EntityKey) -> bool {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(is_hidden) {
            return false;
        }
        let meanings = self.0.entry(name.to_owned()).or_default();
        if meanings.len() < MAX_MEANINGS {
            meanings.insert(key.clone());
        }
        true
    }

    pub fn resolve(&self, name: &str) -> Resolution {
        let Some(meanings) = self.0.get(name) else {
            return Resolution::Unknown;
        };
        match (meanings.len(), meanings.first()) {
            (1, Some(key)) => Resolution::Known(key.clone()),
            _ => Resolution::Ambiguous(meanings.iter().cloned().collect()),
        }
    }

    pub fn forget(&mut self, gone: &BTreeSet<EntityKey>) {
        self.0.retain(|_, meanings| {
            meanings.retain(|key| !gone.contains(key));
            !meanings.is_empty()
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<EntityKey>)> {
        self.0.iter().map(|(name, keys)| (name.as_str(), keys))
    }
}
