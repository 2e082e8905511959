//! Bound of the series of one signal, by source.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use anomalyzer_domain::Labels;

/// Place of a known series.
#[derive(Clone, Debug)]
struct Place<S> {
    source: S,
    last_seen: Instant,
}

/// Bound of the series of one signal. Each source may bring `limit` series.
///
/// A series that has a place keeps it until it has been gone for `forget_after`. A series without a
/// place gets one if its source has room. A source that invents new labels in each round therefore
/// fills only its own places: its older series and the series of other sources stay. Memory is
/// bounded by the number of sources times `limit`.
///
/// A series belongs to the source that brought it first. Other sources may report it too, because
/// a sum without one of its parts would be wrong. A series that was refused from one source in a
/// round is therefore not admitted from another one before the next round.
#[derive(Clone, Debug)]
pub struct SeriesLimit<S> {
    limit: usize,
    forget_after: Duration,
    places: HashMap<Labels, Place<S>>,
    taken: BTreeMap<S, usize>,
    surplus: BTreeMap<S, usize>,
    /// Hashes of the series that this round refused.
    refused: HashSet<u64>,
    hasher: RandomState,
}

impl<S: Ord + Clone> SeriesLimit<S> {
    /// Creates a bound of `limit` series for each source. The place of a series is free again when
    /// the series has been gone for `forget_after`.
    pub fn new(limit: usize, forget_after: Duration) -> Self {
        Self {
            limit,
            forget_after,
            places: HashMap::new(),
            taken: BTreeMap::new(),
            surplus: BTreeMap::new(),
            refused: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Starts a round: frees the places of series that have been gone for long, and resets the
    /// count of the surplus.
    pub fn begin(&mut self, now: Instant) {
        self.surplus.clear();
        self.refused = HashSet::new();
        let (forget_after, taken) = (self.forget_after, &mut self.taken);
        self.places.retain(|_, place| {
            let kept = now.saturating_duration_since(place.last_seen) <= forget_after;
            if !kept && let Some(count) = taken.get_mut(&place.source) {
                *count -= 1;
            }
            kept
        });
        taken.retain(|_, count| *count > 0);
    }

    /// Returns true if the series may be used in this round. Counts it as surplus otherwise.
    pub fn admit(&mut self, source: &S, series: &Labels, now: Instant) -> bool {
        let is_refused =
            !self.refused.is_empty() && self.refused.contains(&self.hasher.hash_one(series));
        if let Some(place) = self.places.get_mut(series) {
            place.last_seen = now;
            return !is_refused;
        }
        let taken = self.taken.get(source).copied().unwrap_or_default();
        if taken >= self.limit {
            *self.surplus.entry(source.clone()).or_default() += 1;
            self.refused.insert(self.hasher.hash_one(series));
            return false;
        }
        self.taken.insert(source.clone(), taken + 1);
        let place = Place {
            source: source.clone(),
            last_seen: now,
        };
        self.places.insert(series.clone(), place);
        !is_refused
    }

    /// Returns true if the series has a place.
    pub fn has(&self, series: &Labels) -> bool {
        self.places.contains_key(series)
    }

    /// Returns the number of series that this round left out, by source.
    pub fn surplus(&self) -> &BTreeMap<S, usize> {
        &self.surplus
    }

    /// Returns the number of places that are taken.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn series(name: &str) -> Labels {
        Labels::new([("t", name)])
    }

    #[test]
    fn a_source_of_new_series_each_round_takes_no_place_of_others_and_memory_stays_flat() {
        let mut limit = SeriesLimit::new(10, HOUR);
        let start = Instant::now();
        for round in 0..100 {
            let now = start + Duration::from_secs(round);
            limit.begin(now);
            for number in 0..50 {
                limit.admit(&"hostile", &series(&format!("{round}-{number}")), now);
            }
            assert!(limit.admit(&"honest", &series("web"), now), "round {round}");
            assert!(limit.admit(&"hostile", &series("0-3"), now), "an old one");
            assert_eq!(limit.len(), 11);
            let refused = if round == 0 { 40 } else { 50 };
            assert_eq!(limit.surplus(), &BTreeMap::from([("hostile", refused)]));
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_series_has_been_gone_for_long() {
        let mut limit = SeriesLimit::new(1, HOUR);
        let start = Instant::now();
        assert!(limit.admit(&"a", &series("old"), start));
        for (after, free) in [(0, false), (3600, false), (3601, true)] {
            let now = start + Duration::from_secs(after);
            limit.begin(now);
            assert_eq!(limit.admit(&"a", &series("new"), now), free, "{after}");
        }
        assert!(!limit.has(&series("old")) && limit.has(&series("new")));
    }

    #[test]
    fn a_series_that_one_source_may_bring_is_admitted_from_all_but_never_from_a_part_of_them() {
        let mut limit = SeriesLimit::new(1, HOUR);
        let now = Instant::now();
        assert!(limit.admit(&"a", &series("x"), now));
        let shared = series("shared");
        let mut round = || {
            limit.begin(now);
            ["a", "b"].map(|source| limit.admit(&source, &shared, now))
        };
        // In the first round, only `b` has room.
        assert_eq!([round(), round()], [[false, false], [true, true]]);
        assert_eq!(limit.len(), 2);
    }

    proptest! {
        #[test]
        fn no_source_ever_has_more_than_the_limit_and_the_count_is_exact(
            asked in prop::collection::vec((0u8..3, 0u8..30, 0u64..4000), 0..200), most in 0usize..6,
        ) {
            let mut limit = SeriesLimit::new(most, HOUR);
            let mut now = Instant::now();
            for (source, name, later) in asked {
                now += Duration::from_secs(later);
                limit.begin(now);
                limit.admit(&source, &series(&name.to_string()), now);
                prop_assert!(limit.taken.values().all(|count| *count <= most));
                prop_assert_eq!(limit.taken.values().sum::<usize>(), limit.len());
            }
        }
    }
}
