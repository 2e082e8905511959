//! Edges: relations between two entities.

use std::collections::BTreeMap;

use anomalyzer_domain::UnixMs;
use serde::{Deserialize, Serialize};

use crate::age::Age;
use crate::entity::EntityKey;
use crate::sighting::{Calls, Sighting};
use crate::source::Source;

/// Kind of a relation from one entity to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The first entity sends requests or messages to the second.
    Calls,
    /// The first entity runs on the second: a replica on a node, a node in a zone.
    RunsOn,
    /// The first entity belongs to the second: a replica to its workload.
    OwnedBy,
    /// The first entity reads or needs the second: a configuration object, a volume, a quota.
    Uses,
}

/// Relation between two entities, merged from all sources that report it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// True if a source says that the callee answers later or not at all. Asynchronous edges carry
    /// backlog and no latency.
    #[serde(default)]
    pub asynchronous: bool,
    /// Facts by source.
    pub sightings: BTreeMap<Source, Sighting>,
}

impl Edge {
    /// Returns the age class at `now`. An edge is as fresh as its freshest source. An edge of the
    /// configuration is always fresh.
    pub fn age(&self, now: UnixMs) -> Age {
        self.sightings
            .iter()
            .map(|(source, sight)| {
                if source.ages() {
                    Age::of(sight.last_seen, now)
                } else {
                    Age::Fresh
                }
            })
            .min()
            .unwrap_or(Age::Gone)
    }

    /// Returns the number of calls in the newest window, of the most trusted source that counts and
    /// is fresh at `now`. Returns `None` if none does.
    pub fn calls(&self, now: UnixMs) -> Option<f64> {
        self.sightings
            .iter()
            .filter(|(source, sight)| !source.ages() || Age::of(sight.last_seen, now) == Age::Fresh)
            .find_map(|(_, sight)| sight.calls)
    }

    /// Returns the time of the first sight by any source; `None` without sights.
    pub fn first_seen(&self) -> Option<UnixMs> {
        self.sightings.values().map(|sight| sight.first_seen).min()
    }

    /// Returns true if the configuration names this edge.
    pub fn is_configured(&self) -> bool {
        self.sightings.contains_key(&Source::Configuration)
    }
}

/// One sight of an edge by one source.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSighting {
    /// Entity at which the edge begins.
    pub from: EntityKey,
    /// Entity at which the edge ends.
    pub to: EntityKey,
    /// Kind of the relation.
    pub relation: Relation,
    /// Source of the fact.
    pub source: Source,
    /// Time of the sight.
    pub at: UnixMs,
    /// True for a call whose answer the caller does not wait for.
    pub asynchronous: bool,
    /// Count of calls.
    pub calls: Calls,
}

impl EdgeSighting {
    /// Returns a sight of a call without a count.
    pub fn call(from: EntityKey, to: EntityKey, source: Source, at: UnixMs) -> Self {
        Self {
            from,
            to,
            relation: Relation::Calls,
            source,
            at,
            asynchronous: false,
            calls: Calls::Unknown,
        }
    }

    /// Returns a sight of another relation than a call.
    pub fn relation(
        from: EntityKey,
        to: EntityKey,
        relation: Relation,
        source: Source,
        at: UnixMs,
    ) -> Self {
        Self {
            relation,
            ..Self::call(from, to, source, at)
        }
    }

    /// Returns the sight with a count of calls.
    #[must_use]
    pub fn counted(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::GONE_AFTER;

    fn edge(source: Source, sights: &[(UnixMs, Calls)]) -> Edge {
        let mut sighting = Sighting::new(sights[0].0);
        for (at, calls) in sights {
            sighting.add(*at, *calls);
        }
        Edge {
            asynchronous: false,
            sightings: BTreeMap::from([(source, sighting)]),
        }
    }

    #[test]
    fn a_reset_counter_counts_from_zero() {
        use Calls::Counter;
        for (values, calls) in [
            (&[10.0][..], None),
            (&[10.0, 25.0], Some(15.0)),
            (&[10.0, 25.0, 4.0], Some(4.0)),
            (&[10.0, f64::NAN, 12.0], Some(2.0)),
            (&[10.0, -3.0, 12.0], Some(2.0)),
            (&[10.0, f64::INFINITY, 12.0], Some(2.0)),
        ] {
            let sights: Vec<_> = values.iter().map(|value| (0, Counter(*value))).collect();
            assert_eq!(edge(Source::Istio, &sights).calls(0), calls, "{values:?}");
        }
    }

    #[test]
    fn an_older_message_changes_no_count() {
        let sights = [(100, Calls::Window(7.0)), (50, Calls::Window(1.0))];
        let edge = edge(Source::Istio, &sights);
        assert_eq!(edge.calls(100), Some(7.0));
        assert_eq!(edge.first_seen(), Some(50));
    }

    #[test]
    fn two_sources_of_one_edge_are_not_summed() {
        let mut merged = edge(Source::ServiceGraph, &[(0, Calls::Window(90.0))]);
        merged
            .sightings
            .extend(edge(Source::Istio, &[(0, Calls::Window(100.0))]).sightings);
        assert_eq!(merged.calls(0), Some(100.0));
        // A source that fell silent loses its say.
        if let Some(sight) = merged.sightings.get_mut(&Source::ServiceGraph) {
            sight.add(GONE_AFTER, Calls::Window(80.0));
        }
        assert_eq!(merged.calls(GONE_AFTER), Some(80.0));
    }

    #[test]
    fn a_configured_edge_never_ages() {
        let mut merged = edge(Source::Istio, &[(0, Calls::Unknown)]);
        assert_eq!(merged.age(GONE_AFTER), Age::Gone);
        merged
            .sightings
            .insert(Source::Configuration, Sighting::new(0));
        assert_eq!(merged.age(GONE_AFTER), Age::Fresh);
        assert_eq!(Edge::default().age(0), Age::Gone);
    }
}
