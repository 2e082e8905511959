//! Keeps the statistics of each plugin: calls, faults, time per call, and the memory of its
//! instances.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Number of buckets per power of two: a quantile is exact to one eighth.
const PARTS: u32 = 8;
/// Number of buckets, up to 2^40 ns, about 18 minutes. No call takes that long.
const BUCKETS: usize = 41 * PARTS as usize;

/// First bound of [`CALL_SECONDS`], as a power of two of nanoseconds: 8 µs.
const FIRST_BOUND: u32 = 13;
/// Upper bounds of the histogram, in seconds. Each bound is twice the bound before, up to 4.3 s.
/// Only calls that open an instance take longer. The bounds are powers of two of nanoseconds, so
/// that the counts of the internal buckets, eight per power of two, add up to them.
pub static CALL_SECONDS: [f64; 20] = {
    let mut bounds = [0.0; 20];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (1u64 << (FIRST_BOUND + at as u32)) as f64 / 1e9;
        at += 1;
    }
    bounds
};

/// Number of signals with a quarantined instance at which the whole plugin is quarantined.
const QUARANTINED_SIGNALS: u32 = 3;
/// First quiet time after which a quarantine lifts itself. Each further one is twice as long, up to
/// [`MAX_QUIET`].
const QUIET: Duration = Duration::from_secs(10 * 60);
/// Longest quiet time.
pub const MAX_QUIET: Duration = Duration::from_secs(6 * 60 * 60);
/// Number of consecutive faulted runs at which an action is quarantined.
const FAULTED_RUNS: u32 = 5;

/// Statistics of one plugin since the start, or since its live version became live.
#[derive(Debug)]
pub struct Stats {
    calls: AtomicU64,
    faults: AtomicU64,
    instances: AtomicU64,
    memory: AtomicU64,
    took: Box<[AtomicU64]>,
    /// Total time of all calls, in nanoseconds.
    took_nanos: AtomicU64,
    quarantined_signals: AtomicU32,
    faulted_runs: AtomicU32,
    last_fault: Mutex<Option<String>>,
    quarantine: Mutex<Option<String>>,
    /// Number of times that a quarantine was lifted or another version went live.
    chances: AtomicU64,
    /// Time at which a quarantine lifts itself. None if it does not.
    quiet_until: Mutex<Option<Instant>>,
    /// Number of quarantines that lifted themselves.
    retries: AtomicU32,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            calls: AtomicU64::default(),
            faults: AtomicU64::default(),
            instances: AtomicU64::default(),
            memory: AtomicU64::default(),
            took: (0..BUCKETS).map(|_| AtomicU64::default()).collect(),
            took_nanos: AtomicU64::default(),
            quarantined_signals: AtomicU32::default(),
            faulted_runs: AtomicU32::default(),
            last_fault: Mutex::default(),
            quarantine: Mutex::default(),
            chances: AtomicU64::default(),
            quiet_until: Mutex::default(),
            retries: AtomicU32::default(),
        }
    }
}

/// Statistics of a plugin, for a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginStats {
    /// Number of calls made.
    pub calls: u64,
    /// Number of instances lost to a trap, a deadline, a limit or a broken contract.
    pub faults: u64,
    /// Last fault, in words.
    pub last_fault: Option<String>,
    /// Median time per call, in microseconds. None before the first call.
    pub p50_us: Option<f64>,
    /// 99th percentile of the time per call, in microseconds.
    pub p99_us: Option<f64>,
    /// Number of open instances.
    pub instances: u64,
    /// Linear memory of the open instances, in bytes.
    pub memory_bytes: u64,
}

/// Histogram of the times of a plugin's calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTimes {
    /// Number of calls per bucket. A bucket ends at its bound of [`CALL_SECONDS`] and begins above
    /// the bound before. The last bucket holds the calls above all bounds.
    pub counts: Vec<u64>,
    /// Total time of all calls, in seconds.
    pub seconds: f64,
}

impl Stats {
    /// Counts a call and its time.
    pub fn call(&self, took: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.took[bucket(took)].fetch_add(1, Relaxed);
        self.took_nanos
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Restarts the counts when another version goes live, and gives the plugin another chance.
    pub fn begin(&self) {
        for count in [&self.calls, &self.faults, &self.took_nanos]
            .into_iter()
            .chain(&self.took)
        {
            count.store(0, Relaxed);
        }
        *self.last_fault.lock() = None;
        self.set_quarantine(None);
    }

    /// Counts a fault.
    pub fn fault(&self, reason: &str) {
        self.faults.fetch_add(1, Relaxed);
        *self.last_fault.lock() = Some(reason.to_owned());
    }

    /// Counts an instance that was opened.
    pub fn opened(&self) {
        self.instances.fetch_add(1, Relaxed);
    }

    /// Counts an instance with `memory` bytes that was closed.
    pub fn closed(&self, memory: u64) {
        self.instances.fetch_sub(1, Relaxed);
        self.memory.fetch_sub(memory, Relaxed);
    }

    /// Counts bytes of memory that an instance gained.
    pub fn grew(&self, bytes: u64) {
        self.memory.fetch_add(bytes, Relaxed);
    }

    /// Starts or ends the quiet time before a quarantine lifts itself. `of_time` is true if the
    /// last fault was a call that took too long: then the machine may be the cause.
    pub fn begin_quiet_time(&self, of_time: bool) {
        *self.quiet_until.lock() = of_time.then(|| {
            let longer = 1 << self.retries.load(Relaxed).min(16);
            Instant::now() + (QUIET * longer).min(MAX_QUIET)
        });
    }

    /// Returns the rest of the quiet time, if the quarantine lifts itself.
    pub fn quiet_time_left(&self) -> Option<Duration> {
        let until = *self.quiet_until.lock();
        until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Returns true once when the quiet time is over.
    pub fn is_quiet_time_over(&self) -> bool {
        let mut until = self.quiet_until.lock();
        until.take_if(|until| *until <= Instant::now()).is_some()
    }

    /// Ends the quiet time now.
    #[cfg(any(test, feature = "test-support"))]
    pub fn end_quiet_time(&self) {
        *self.quiet_until.lock() = Some(Instant::now());
    }

    /// Returns the number of quarantines that lifted themselves since a person lifted one.
    pub fn retries(&self) -> u32 {
        self.retries.load(Relaxed)
    }

    /// Sets the number of quarantines that lifted themselves.
    pub fn set_retries(&self, retries: u32) {
        self.retries.store(retries, Relaxed);
    }

    /// Records the quarantine of one signal's instance. Quarantines the plugin when it has lost the
    /// instances of `QUARANTINED_SIGNALS` signals.
    pub fn signal_quarantined(&self, reason: &str) {
        if self.quarantined_signals.fetch_add(1, Relaxed) + 1 >= QUARANTINED_SIGNALS {
            self.quarantine(format!(
                "{QUARANTINED_SIGNALS} of its instances were quarantined, the last: {reason}"
            ));
        }
    }

    /// Records the end of an action's run, with or without a fault.
    pub fn run_ended(&self, fault: Option<&str>) {
        match fault {
            None => self.faulted_runs.store(0, Relaxed),
            Some(reason) => {
                if self.faulted_runs.fetch_add(1, Relaxed) + 1 >= FAULTED_RUNS {
                    self.quarantine(format!(
                        "{FAULTED_RUNS} runs in a row faulted, the last: {reason}"
                    ));
                }
            }
        }
    }

    fn quarantine(&self, reason: String) {
        self.quarantine.lock().get_or_insert(reason);
    }

    /// Returns the reason if the plugin is quarantined.
    pub fn quarantine_reason(&self) -> Option<String> {
        self.quarantine.lock().clone()
    }

    /// Returns the number of times that the plugin got another chance: its quarantine was lifted,
    /// or another version went live.
    pub fn chances(&self) -> u64 {
        self.chances.load(Relaxed)
    }

    /// Quarantines the plugin for a reason that is already known, or gives it another chance.
    pub fn set_quarantine(&self, reason: Option<String>) {
        self.chances.fetch_add(u64::from(reason.is_none()), Relaxed);
        *self.quarantine.lock() = reason;
        self.quarantined_signals.store(0, Relaxed);
        self.faulted_runs.store(0, Relaxed);
        self.retries.store(0, Relaxed);
        *self.quiet_until.lock() = None;
    }

    /// Returns the times of the calls.
    pub fn times(&self) -> CallTimes {
        let mut counts = vec![0; CALL_SECONDS.len() + 1];
        for (bucket, count) in self.took.iter().enumerate() {
            let power = bucket as u32 / PARTS;
            counts[((power + 1).saturating_sub(FIRST_BOUND) as usize).min(CALL_SECONDS.len())] +=
                count.load(Relaxed);
        }
        CallTimes {
            counts,
            seconds: self.took_nanos.load(Relaxed) as f64 / 1e9,
        }
    }

    /// Returns the figures of now.
    pub fn snapshot(&self) -> PluginStats {
        let counts: Vec<u64> = self.took.iter().map(|count| count.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let quantile = |share: f64| {
            let wanted = (total as f64 * share).ceil() as u64;
            let mut seen = 0;
            let at = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            at.filter(|_| total > 0).map(|at| upper(at) / 1e3)
        };
        PluginStats {
            calls: self.calls.load(Relaxed),
            faults: self.faults.load(Relaxed),
            last_fault: self.last_fault.lock().clone(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            instances: self.instances.load(Relaxed),
            memory_bytes: self.memory.load(Relaxed),
        }
    }
}

/// Returns the bucket of a time. Each power of two has eight buckets, as in HDR histograms.
fn bucket(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos())
        .unwrap_or(u64::MAX)
        .max(u64::from(PARTS));
    let power = nanos.ilog2();
    let part = (nanos >> (power - PARTS.ilog2())) as u32 % PARTS;
    ((power * PARTS + part) as usize).min(BUCKETS - 1)
}

/// Returns the end of a bucket, in nanoseconds.
fn upper(bucket: usize) -> f64 {
    let (power, part) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
    2f64.powi(power as i32) * (1.0 + f64::from(part + 1) / f64::from(PARTS))
}

/// Statistics of every plugin that was ever live, by name.
#[derive(Debug, Default)]
pub struct AllStats(Mutex<HashMap<Arc<str>, Arc<Stats>>>);

impl AllStats {
    /// Returns the statistics of a plugin that is live. Makes them if there are none.
    pub fn of(&self, plugin: &Arc<str>) -> Arc<Stats> {
        let mut all = self.0.lock();
        Arc::clone(all.entry(Arc::clone(plugin)).or_default())
    }

    /// Returns the statistics of a plugin. Returns None if no plugin of that name was ever live, as
    /// anyone can ask for any name.
    pub fn by_name(&self, plugin: &str) -> Option<Arc<Stats>> {
        self.0.lock().get(plugin).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_true_to_an_eighth() {
        let stats = Stats::default();
        assert_eq!(stats.snapshot().p99_us, None);
        for micros in 1..=1000 {
            stats.call(Duration::from_micros(micros));
        }
        let PluginStats {
            calls,
            p50_us,
            p99_us,
            ..
        } = stats.snapshot();
        assert_eq!(calls, 1000);
        for (told, truth) in [(p50_us.unwrap(), 500.0), (p99_us.unwrap(), 990.0)] {
            assert!((truth..=truth * 1.13).contains(&told), "{told} for {truth}");
        }
    }

    #[test]
    fn a_histogram_has_each_call_below_its_bound() {
        let stats = Stats::default();
        for nanos in [
            1,
            (1 << 13) - 1,
            1 << 13,
            (1 << 14) + 1,
            1_000_000_000,
            60_000_000_000,
        ] {
            stats.call(Duration::from_nanos(nanos));
        }
        let CallTimes { counts, seconds } = stats.times();
        assert_eq!(CALL_SECONDS[0].to_string(), "0.000008192");
        let found = |bound: f64| counts[CALL_SECONDS.partition_point(|least| *least < bound)];
        assert_eq!((counts[0], counts[1], counts[2], counts[20]), (2, 1, 1, 1));
        assert_eq!(found(1.0), 1);
        assert_eq!((counts.iter().sum::<u64>(), seconds.floor()), (6, 61.0));
    }

    #[test]
    fn another_version_begins_with_nothing_and_what_is_open_stays() {
        let stats = Stats::default();
        stats.opened();
        stats.grew(100);
        stats.call(Duration::from_millis(1));
        stats.fault("trap");
        stats.begin();
        let left = PluginStats {
            instances: 1,
            memory_bytes: 100,
            ..PluginStats::default()
        };
        assert_eq!((stats.snapshot(), stats.times().seconds), (left, 0.0));
    }

    #[test]
    fn a_question_about_a_name_leaves_no_statistics_behind() {
        let all = AllStats::default();
        assert!(all.by_name("nobody").is_none());
        all.of(&"zscore".into()).call(Duration::from_millis(1));
        assert_eq!(all.by_name("zscore").unwrap().snapshot().calls, 1);
        assert_eq!(all.0.lock().len(), 1);
    }

    #[test]
    fn the_shortest_and_the_longest_call_have_a_place() {
        assert!(bucket(Duration::ZERO) < BUCKETS);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn only_a_quarantine_of_time_lifts_itself_and_each_time_later() {
        let stats = Stats::default();
        stats.begin_quiet_time(false);
        assert_eq!(stats.quiet_time_left(), None);
        let mut last = Duration::ZERO;
        for retries in 0..40 {
            stats.set_retries(retries);
            stats.begin_quiet_time(true);
            let left = stats.quiet_time_left().unwrap() + Duration::from_secs(1);
            assert!(left > last.min(MAX_QUIET) && left <= MAX_QUIET + Duration::from_secs(1));
            assert!(!stats.is_quiet_time_over());
            last = left;
        }
        stats.set_quarantine(None);
        assert_eq!((stats.retries(), stats.quiet_time_left()), (0, None));
        stats.end_quiet_time();
        assert!(stats.is_quiet_time_over() && !stats.is_quiet_time_over());
    }

    #[test]
    fn a_plugin_is_quarantined_after_three_signals_or_five_runs_in_a_row() {
        let stats = Stats::default();
        stats.signal_quarantined("trap");
        stats.signal_quarantined("trap");
        assert_eq!(stats.quarantine_reason(), None);
        stats.signal_quarantined("trap");
        assert!(stats.quarantine_reason().unwrap().contains("trap"));
        stats.set_quarantine(None);
        for _ in 0..4 {
            stats.run_ended(Some("deadline"));
        }
        stats.run_ended(None);
        stats.run_ended(Some("deadline"));
        assert_eq!(
            stats.quarantine_reason(),
            None,
            "a run that went well ends the row"
        );
        for _ in 0..4 {
            stats.run_ended(Some("deadline"));
        }
        assert!(stats.quarantine_reason().is_some());
    }
}
