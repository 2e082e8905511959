//! Recognizes series that end and begin again and again.
//!
//! A detector learns each series from its beginning. If a source is scraped more seldom than its
//! samples count as current, its series ends after each scrape, and the detector never learns.

use std::collections::BTreeMap;

use anomalyzer_domain::Labels;

/// Number of returns after which a series counts as intermittent.
const MIN_RETURNS: u32 = 3;
/// Maximum number of ended series that are remembered for one signal.
const MAX_ENDED: usize = 1_000;

/// A series that ended at least once.
#[derive(Clone, Copy, Debug)]
struct Ended {
    returns: u32,
    /// Steady time of the last end or return.
    changed_at: i64,
}

/// Ended series of one signal, and the numbers of their returns.
#[derive(Clone, Debug, Default)]
pub struct Reopenings(BTreeMap<Labels, Ended>);

impl Reopenings {
    /// Records that a series ended.
    pub fn end(&mut self, labels: &Labels, now: i64) {
        if let Some(ended) = self.0.get_mut(labels) {
            ended.changed_at = now;
        } else if self.0.len() < MAX_ENDED {
            let ended = Ended {
                returns: 0,
                changed_at: now,
            };
            self.0.insert(labels.clone(), ended);
        }
    }

    /// Records that a series began. Counts it if the series ended before.
    pub fn begin(&mut self, labels: &Labels, now: i64) {
        if let Some(ended) = self.0.get_mut(labels) {
            ended.returns = ended.returns.saturating_add(1);
            ended.changed_at = now;
        }
    }

    /// Forgets the series that neither ended nor returned for the time `forget_after`.
    pub fn forget(&mut self, now: i64, forget_after: i64) {
        self.0
            .retain(|_, ended| now.saturating_sub(ended.changed_at) <= forget_after);
    }

    /// Returns the number of intermittent series, and the first of them.
    pub fn intermittent(&self) -> Option<(usize, &Labels)> {
        let mut all = self
            .0
            .iter()
            .filter(|(_, ended)| ended.returns >= MIN_RETURNS);
        let (first, _) = all.next()?;
        Some((1 + all.count(), first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::new([("name", name)])
    }

    #[test]
    fn a_series_that_returns_three_times_is_intermittent_until_it_is_stable_for_a_while() {
        let mut reopenings = Reopenings::default();
        for round in 0..3 {
            assert_eq!(reopenings.intermittent(), None);
            reopenings.begin(&labels("a"), 10 * round);
            reopenings.end(&labels("a"), 10 * round + 5);
        }
        reopenings.begin(&labels("a"), 30);
        assert_eq!(reopenings.intermittent(), Some((1, &labels("a"))));
        reopenings.forget(130, 100);
        assert!(reopenings.intermittent().is_some());
        reopenings.forget(131, 100);
        assert_eq!(reopenings.intermittent(), None);
    }

    #[test]
    fn series_that_end_for_good_take_a_bounded_place() {
        let mut reopenings = Reopenings::default();
        for name in 0..2 * MAX_ENDED {
            reopenings.end(&labels(&name.to_string()), 0);
        }
        assert_eq!(
            (reopenings.0.len(), reopenings.intermittent()),
            (MAX_ENDED, None)
        );
    }
}
