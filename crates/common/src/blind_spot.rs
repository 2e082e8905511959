//! Table of the blind spots: conditions in which the service sees less than it should.
//!
//! Each part reports its own blind spots here. `/health`, the API, a metric and a notice show the
//! table. A blind spot is no finding: it never leads to an action on a target.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use anomalyzer_domain::{UnixMs, as_rfc3339, truncate};

use super::clock::now_ms;

/// Maximum number of rows. Further blind spots are counted, and not shown.
const MAX_ROWS: usize = 1_000;
/// Maximum length of a detail in bytes.
const MAX_DETAIL: usize = 500;
/// Time for which an ended blind spot is remembered. If it returns meanwhile, no second notice is
/// due.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// Longest gap that a blind spot bridges. A condition that comes and goes counts as one that lasts.
const MAX_GAP: Duration = Duration::from_secs(5 * 60);

/// Kind of a blind spot. The ids are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlindSpotKind {
    /// A signal returned no sample for many intervals.
    NoData,
    /// The source of a signal does not answer.
    SourceFails,
    /// The answers of a source have a form that the signal can't use.
    UnusableAnswer,
    /// The answers of a source state that they lack a part.
    PartialAnswer,
    /// A large share of the samples is late, in the future or beyond a bound.
    SamplesDropped,
    /// A source or a signal has more series or targets than the limit.
    TooManySeries,
    /// A series has labels that can't be used: hidden characters, or too many bytes.
    UnacceptableSeries,
    /// A series ends and begins again and again, so that its detectors never learn.
    IntermittentSeries,
    /// A detector never learns, because its series end too early.
    NeverLearns,
    /// The wall clock jumped.
    ClockJump,
    /// A round of collection takes longer than its interval.
    SlowRound,
    /// A partition of a topic stands still.
    StalledPartition,
    /// The engine processes samples long after their time.
    EngineBehind,
    /// A plugin is quarantined.
    PluginQuarantined,
    /// Notices could not be delivered.
    NoticeUndelivered,
}

impl BlindSpotKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::NoData,
        Self::SourceFails,
        Self::UnusableAnswer,
        Self::PartialAnswer,
        Self::SamplesDropped,
        Self::TooManySeries,
        Self::UnacceptableSeries,
        Self::IntermittentSeries,
        Self::NeverLearns,
        Self::ClockJump,
        Self::SlowRound,
        Self::StalledPartition,
        Self::EngineBehind,
        Self::PluginQuarantined,
        Self::NoticeUndelivered,
    ];

    /// Returns the stable id.
    pub fn id(self) -> &'static str {
        match self {
            Self::NoData => "no_data",
            Self::SourceFails => "source_fails",
            Self::UnusableAnswer => "unusable_answer",
            Self::PartialAnswer => "partial_answer",
            Self::SamplesDropped => "samples_dropped",
            Self::TooManySeries => "too_many_series",
            Self::UnacceptableSeries => "unacceptable_series",
            Self::IntermittentSeries => "intermittent_series",
            Self::NeverLearns => "never_learns",
            Self::ClockJump => "clock_jump",
            Self::SlowRound => "slow_round",
            Self::StalledPartition => "stalled_partition",
            Self::EngineBehind => "engine_behind",
            Self::PluginQuarantined => "plugin_quarantined",
            Self::NoticeUndelivered => "notice_undelivered",
        }
    }

    /// Returns the remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoData => {
                "check the query or the selector; if no data is normal, let the query return 0, as with `or vector(0)`"
            }
            Self::SourceFails => "check that the source runs, its address and the network",
            Self::UnusableAnswer => "change the query or the address as the reason says",
            Self::PartialAnswer => {
                "repair the missing part of the source; values of an incomplete answer never lead to a drastic action"
            }
            Self::SamplesDropped => "set the clocks of the sources right, and see the reason",
            Self::TooManySeries => {
                "drop labels with many values from the signal, or raise the limit"
            }
            Self::UnacceptableSeries => {
                "repair the label in the program that exposes the series, or drop it from the signal"
            }
            Self::IntermittentSeries => {
                "raise `lookback` above the time between two scrapes, or let the query always return a value, as with `or vector(0)`"
            }
            Self::NeverLearns => {
                "use a detector that needs fewer samples, or labels that live longer"
            }
            Self::ClockJump => "synchronize the clock of this machine, for example with chrony",
            Self::SlowRound => "raise the interval, ask for less, or speed up the source",
            Self::StalledPartition => {
                "see the reason; read the partition with another client to find the record"
            }
            Self::EngineBehind => "give the engine more processor time, or run more engines",
            Self::PluginQuarantined => "see `anomalyzer plugins list`, and repair the plugin",
            Self::NoticeUndelivered => "check the address of the channel and its receiver",
        }
    }
}

/// A blind spot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlindSpot {
    /// Kind, as its stable id.
    #[serde(serialize_with = "as_id")]
    pub kind: BlindSpotKind,
    /// Subject, such as the name of a signal.
    pub subject: String,
    /// Time since when the condition holds.
    #[serde(with = "as_rfc3339")]
    pub since: UnixMs,
    /// Condition in words.
    pub detail: String,
    /// Remedy.
    pub remedy: &'static str,
}

fn as_id<S: serde::Serializer>(kind: &BlindSpotKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.id())
}

struct Row {
    since: UnixMs,
    began: Instant,
    ended: Option<Instant>,
    detail: String,
    is_reported: bool,
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<(BlindSpotKind, String), Row>,
    dropped: u64,
}

/// Table of the blind spots of this process. Clones share the table.
#[derive(Clone, Default)]
pub struct BlindSpots(Arc<Mutex<Table>>);

impl BlindSpots {
    /// Reports whether a condition holds: `detail` describes it, and `None` ends it. Repeated calls
    /// with a new detail update the row. Logs the beginning and the end.
    pub fn set(&self, kind: BlindSpotKind, subject: &str, detail: Option<String>) {
        match detail {
            Some(detail) => self.report(kind, subject, &detail),
            None => self.end(kind, subject),
        }
    }

    /// Reports a condition that holds.
    pub fn report(&self, kind: BlindSpotKind, subject: &str, detail: &str) {
        let detail = truncate(detail, MAX_DETAIL).replace('\n', " ");
        let now = Instant::now();
        let mut table = self.0.lock();
        let key = (kind, subject.to_owned());
        if let Some(row) = table.rows.get_mut(&key) {
            if let Some(ended) = row.ended.take() {
                if now.duration_since(ended) > MAX_GAP {
                    (row.since, row.began) = (now_ms(), now);
                    log_begin(kind, subject, &detail);
                }
                if now.duration_since(ended) > MEMORY {
                    row.is_reported = false;
                }
            }
            row.detail = detail;
            // The clock may have been ahead when the row was made.
            row.since = row.since.min(now_ms());
            return;
        }
        if table.rows.len() >= MAX_ROWS && !table.make_room(now) {
            table.dropped += 1;
            return;
        }
        log_begin(kind, subject, &detail);
        let row = Row {
            since: now_ms(),
            began: now,
            ended: None,
            detail,
            is_reported: false,
        };
        table.rows.insert(key, row);
    }

    /// Ends a condition, if it holds.
    pub fn end(&self, kind: BlindSpotKind, subject: &str) {
        let mut table = self.0.lock();
        let row = table.rows.get_mut(&(kind, subject.to_owned()));
        if let Some(row) = row.filter(|row| row.ended.is_none()) {
            row.ended = Some(Instant::now());
            tracing::info!(kind = kind.id(), subject, "blind spot ended");
        }
    }

    /// Returns the blind spots, by kind and subject.
    pub fn all(&self) -> Vec<BlindSpot> {
        self.list(|_| true)
    }

    /// Returns the blind spots that have lasted for `after` and were not reported to people yet.
    pub fn overdue(&self, after: Duration) -> Vec<BlindSpot> {
        let now = Instant::now();
        self.list(|row| !row.is_reported && now.duration_since(row.began) >= after)
    }

    /// Remembers that these blind spots were reported to people.
    pub fn set_reported(&self, spots: &[BlindSpot]) {
        let mut table = self.0.lock();
        for spot in spots {
            let key = (spot.kind, spot.subject.clone());
            if let Some(row) = table.rows.get_mut(&key) {
                row.is_reported = true;
            }
        }
    }

    /// Returns the number of blind spots beyond the maximum number of rows, since the start.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    fn list(&self, wanted: impl Fn(&Row) -> bool) -> Vec<BlindSpot> {
        let table = self.0.lock();
        let rows = table.rows.iter();
        rows.filter(|(_, row)| row.ended.is_none() && wanted(row))
            .map(|((kind, subject), row)| BlindSpot {
                kind: *kind,
                subject: subject.clone(),
                since: row.since,
                detail: row.detail.clone(),
                remedy: kind.remedy(),
            })
            .collect()
    }
}

fn log_begin(kind: BlindSpotKind, subject: &str, detail: &str) {
    let (kind, remedy) = (kind.id(), kind.remedy());
    tracing::warn!(kind, subject, detail, remedy, "blind spot");
}

impl Table {
    /// Forgets the ended rows: first those that are old, and if none is, all of them. Returns true
    /// if there is space now.
    fn make_room(&mut self, now: Instant) -> bool {
        let is_old = |row: &Row| {
            row.ended
                .is_some_and(|ended| now.duration_since(ended) > MEMORY)
        };
        self.rows.retain(|_, row| !is_old(row));
        if self.rows.len() >= MAX_ROWS {
            self.rows.retain(|_, row| row.ended.is_none());
        }
        self.rows.len() < MAX_ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::BlindSpotKind::{NoData, PartialAnswer};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shown(spots: &[BlindSpot]) -> Vec<(&str, &str, &str)> {
        spots
            .iter()
            .map(|spot| (spot.kind.id(), &*spot.subject, &*spot.detail))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_blind_spot_is_told_once_after_its_time_and_ends() {
        let spots = BlindSpots::default();
        spots.report(NoData, "traffic", "nothing for 20 rounds");
        spots.report(NoData, "traffic", "nothing for\n21 rounds");
        let all = [("no_data", "traffic", "nothing for 21 rounds")];
        assert_eq!(shown(&spots.all()), all);
        assert_eq!(spots.overdue(MINUTE), []);
        tokio::time::advance(MINUTE).await;
        let overdue = spots.overdue(MINUTE);
        assert_eq!(shown(&overdue), all);
        // A notice that could not be delivered is due again.
        assert_eq!(spots.overdue(MINUTE), overdue);
        spots.set_reported(&overdue);
        assert_eq!(spots.overdue(MINUTE), []);
        spots.set(NoData, "traffic", None);
        assert_eq!(spots.all(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_and_goes_lasts_and_is_told_once_an_hour() {
        let spots = BlindSpots::default();
        for _ in 0..6 {
            spots.report(PartialAnswer, "cpu", "one store is away");
            tokio::time::advance(MINUTE / 6).await;
            spots.end(PartialAnswer, "cpu");
            tokio::time::advance(MINUTE / 6).await;
        }
        spots.report(PartialAnswer, "cpu", "one store is away");
        let overdue = spots.overdue(MINUTE);
        assert_eq!(overdue.len(), 1);
        spots.set_reported(&overdue);
        spots.end(PartialAnswer, "cpu");
        tokio::time::advance(MEMORY).await;
        spots.report(PartialAnswer, "cpu", "one store is away");
        assert_eq!(spots.overdue(Duration::ZERO), []);
        spots.end(PartialAnswer, "cpu");
        tokio::time::advance(MEMORY + MINUTE).await;
        spots.report(PartialAnswer, "cpu", "one store is away");
        assert_eq!(spots.overdue(Duration::ZERO).len(), 1);
    }

    #[tokio::test]
    async fn the_table_is_bounded_and_ended_rows_make_room() {
        let spots = BlindSpots::default();
        for subject in 0..=MAX_ROWS {
            spots.report(NoData, &subject.to_string(), "nothing");
        }
        assert_eq!((spots.all().len(), spots.dropped()), (MAX_ROWS, 1));
        spots.end(NoData, "0");
        spots.report(NoData, "another", &"long ".repeat(1_000));
        assert_eq!((spots.all().len(), spots.dropped()), (MAX_ROWS, 1));
        assert!(spots.all().iter().all(|spot| spot.detail.len() < 600));
    }

    #[test]
    fn each_kind_has_an_id_of_its_own_and_a_remedy() {
        let ids: std::collections::BTreeSet<_> =
            BlindSpotKind::ALL.iter().map(|kind| kind.id()).collect();
        assert_eq!(ids.len(), BlindSpotKind::ALL.len());
        assert!(
            BlindSpotKind::ALL
                .iter()
                .all(|kind| !kind.remedy().is_empty())
        );
    }
}
