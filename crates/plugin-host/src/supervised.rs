//! Supervises a detector: opens a lost instance again, with a growing backoff, until it quarantines
//! the instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::detector::{Detector, DetectorInstance, Frame, FrameVerdict};
use super::error::PluginError;
use super::state::Saved;

/// Backoff after the second fault in a row. Every further fault doubles it. The first fault has no
/// backoff.
const BACK_OFF: Duration = Duration::from_millis(250);
/// Number of faults in a row after which the instance is not opened again.
const QUARANTINE_AFTER: u32 = 5;
/// Number of calls in a row that the machine starved after which the instance is not opened again
/// for a while. Such calls are no faults, but each one holds up the signal.
const STARVED_CALLS: u32 = 10;

/// Supervised detector: an instance, with everything that is needed to open it again.
pub(super) struct SupervisedDetector {
    plugin: Arc<Detector>,
    settings: String,
    instance: DetectorInstance,
    faults: u32,
    /// Number of calls in a row that the machine starved.
    starved: u32,
    not_before: Instant,
    last_fault: String,
}

impl SupervisedDetector {
    /// Opens the instance for the first time.
    pub(super) fn open(plugin: Arc<Detector>, settings: String) -> Result<Self, PluginError> {
        let instance = DetectorInstance::open(plugin.clone(), &settings)?;
        Ok(Self {
            plugin,
            settings,
            instance,
            faults: 0,
            starved: 0,
            not_before: Instant::now(),
            last_fault: String::new(),
        })
    }

    /// Returns true if the detector has faulted since its last verdict.
    pub(super) fn has_faulted(&self) -> bool {
        self.faults > 0
    }

    /// Shows the detector a frame.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        frame: &Frame,
        want_scores: bool,
    ) -> Result<FrameVerdict, PluginError> {
        self.plugin.runtime.admit(&self.plugin.name)?;
        let answer = self.instance.observe(frame, want_scores);
        if answer.is_ok() {
            (self.faults, self.starved) = (0, 0);
        }
        self.note(now, answer.as_ref().err());
        answer
    }

    /// Asks the detector for its state. A fault counts like the fault of a frame. A success does
    /// not reset the count of faults in a row; only a verdict does.
    pub(super) fn save(
        &mut self,
        now: Instant,
        of: Option<u32>,
    ) -> Result<Option<Vec<u8>>, PluginError> {
        let answer = self.instance.save(of);
        self.note(now, answer.as_ref().err());
        answer
    }

    /// Restores the detector's saved state.
    pub(super) fn restore(&mut self, now: Instant, saved: &Saved) -> Result<(), PluginError> {
        let answer = self.instance.restore(saved);
        self.note(now, answer.as_ref().err());
        answer
    }

    /// Counts the error of a call if it is a fault of the plugin.
    fn note(&mut self, now: Instant, error: Option<&PluginError>) {
        match error {
            Some(error) if error.is_fault() => self.fault(now, error),
            Some(error) if error.is_starvation() => {
                self.starved += 1;
                if self.starved >= STARVED_CALLS {
                    self.faults = self.faults.max(QUARANTINE_AFTER - 1);
                    self.fault(now, error);
                }
            }
            _ => {}
        }
    }

    /// Opens the instance again, with empty state, if the backoff is over. The caller restores the
    /// state.
    pub(super) fn reopen(&mut self, now: Instant) -> Result<(), PluginError> {
        let (plugin, reason) = (self.plugin.name.to_string(), self.last_fault.clone());
        if self.faults >= QUARANTINE_AFTER {
            return Err(PluginError::Quarantined {
                plugin,
                faults: self.faults,
                reason,
            });
        }
        let retry_in = self.not_before.saturating_duration_since(now);
        if !retry_in.is_zero() {
            return Err(PluginError::BackingOff {
                plugin,
                retry_in,
                reason,
            });
        }
        match DetectorInstance::open(self.plugin.clone(), &self.settings) {
            Ok(instance) => {
                self.instance = instance;
                Ok(())
            }
            Err(error) => {
                // Every other error counts as a fault, because the detector opened with these
                // settings before.
                match error.is_starvation() {
                    true => self.note(now, Some(&error)),
                    false => self.fault(now, &error),
                }
                Err(error)
            }
        }
    }

    /// Counts a fault, and sets the backoff or the quarantine.
    fn fault(&mut self, now: Instant, error: &PluginError) {
        self.faults += 1;
        let wait = match self.faults {
            1 => Duration::ZERO,
            faults => BACK_OFF * (1 << (faults - 2).min(QUARANTINE_AFTER)),
        };
        self.not_before = now + wait;
        self.last_fault = error.to_string();
        let stats = self.plugin.runtime.stats.of(&self.plugin.name);
        stats.fault(&self.last_fault);
        if self.faults == QUARANTINE_AFTER {
            stats.begin_quiet_time(error.is_overrun());
            stats.signal_quarantined(&self.last_fault);
        }
        let (plugin, digest) = (self.plugin.name.as_ref(), self.plugin.digest.as_str());
        if self.faults >= QUARANTINE_AFTER {
            tracing::error!(
                plugin,
                plugin.digest = digest,
                faults = self.faults,
                "quarantined: {error}"
            );
        } else {
            tracing::warn!(
                plugin,
                plugin.digest = digest,
                faults = self.faults,
                ?wait,
                "instance lost: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::{Limits, PluginConfig, Plugins};
    use anomalyzer_domain::Labels;
    use anomalyzer_test_support::guest::{self, mood};

    /// Makes a folder with the moody detector, and its configuration.
    fn folder() -> (TempDir, PluginConfig) {
        let dir = tempfile::tempdir().unwrap();
        let bytes = guest::Detector::default().build();
        std::fs::write(dir.path().join("moody.wasm"), bytes).unwrap();
        let limits = Limits {
            call_deadline: Duration::from_millis(400),
            memory_bytes: 8 << 20,
            threads: 2,
            ..Limits::default()
        };
        let config = PluginConfig {
            folder: dir.path().to_owned(),
            limits,
            ..PluginConfig::default()
        };
        (dir, config)
    }

    fn moody() -> Plugins {
        let (_dir, config) = folder();
        Plugins::load(config).unwrap()
    }

    fn frame(mood: f64) -> Frame {
        let mut frame = Frame::default();
        frame
            .opened
            .push((7, Labels::new([("__name__", "latency"), ("pod", "a")])));
        frame.push(7, 1_000, mood);
        frame
    }

    #[test]
    fn faults_in_a_row_are_waited_for_ever_longer_and_end_in_quarantine() {
        let plugins = moody();
        let detector = plugins.find_detector("moody").unwrap();
        let mut supervised = SupervisedDetector::open(detector, "{}".to_owned()).unwrap();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        let quarantined = loop {
            assert!(
                supervised
                    .observe(now, &frame(mood::TRAP), false)
                    .unwrap_err()
                    .lost_instance()
            );
            match supervised.reopen(now) {
                Ok(()) => waits.push(Duration::ZERO),
                Err(PluginError::BackingOff { retry_in, .. }) => {
                    waits.push(retry_in);
                    now += retry_in;
                    supervised.reopen(now).unwrap();
                }
                Err(error) => break error,
            }
        };
        assert_eq!(waits, [0, 250, 500, 1000].map(Duration::from_millis));
        assert!(
            matches!(&quarantined, PluginError::Quarantined { faults: 5, reason, .. } if reason.contains("unreachable"))
        );
        assert_eq!(
            supervised.reopen(now + Duration::from_secs(3600)),
            Err(quarantined)
        );
    }

    /// Lets a new instance fault until it is quarantined.
    fn quarantine(plugins: &Plugins, mood: f64) {
        let detector = plugins.find_detector("moody").unwrap();
        let mut supervised = SupervisedDetector::open(detector, "{}".to_owned()).unwrap();
        let mut now = Instant::now();
        loop {
            assert!(supervised.observe(now, &frame(mood), false).is_err());
            match supervised.reopen(now) {
                Ok(()) => {}
                Err(PluginError::BackingOff { retry_in, .. }) => {
                    now += retry_in;
                    supervised.reopen(now).unwrap();
                }
                Err(_) => return,
            }
        }
    }

    #[test]
    fn a_quarantine_of_time_lifts_itself_after_a_quiet_time_and_one_of_traps_does_not() {
        let plugins = moody();
        let stats = plugins
            .find_detector("moody")
            .unwrap()
            .runtime
            .stats
            .by_name("moody")
            .unwrap();
        let before = plugins.chances("moody");
        quarantine(&plugins, mood::TRAP);
        assert_eq!(stats.quiet_time_left(), None);
        quarantine(&plugins, mood::SPIN);
        let quiet = stats.quiet_time_left().unwrap();
        plugins.look();
        assert_eq!(
            plugins.chances("moody"),
            before,
            "the quiet time is not over"
        );
        stats.end_quiet_time();
        plugins.look();
        assert_eq!((plugins.chances("moody"), stats.retries()), (before + 1, 1));
        quarantine(&plugins, mood::SPIN);
        assert!(stats.quiet_time_left().unwrap() > quiet, "each time later");
    }

    #[test]
    fn starved_calls_are_no_faults_and_a_long_row_of_them_is_a_quarantine_that_lifts_itself() {
        let plugins = moody();
        let detector = plugins.find_detector("moody").unwrap();
        let stats = detector.runtime.stats.by_name("moody").unwrap();
        let mut supervised = SupervisedDetector::open(detector, "{}".to_owned()).unwrap();
        let starved = PluginError::Starved {
            plugin: "moody".to_owned(),
            call: "observe",
            limit: Duration::from_millis(400),
            used: Duration::from_millis(10),
            waited: Duration::from_secs(2),
        };
        let now = Instant::now();
        for _ in 0..3 {
            for _ in 1..STARVED_CALLS {
                supervised.note(now, Some(&starved));
                assert!(!supervised.has_faulted());
            }
            supervised.observe(now, &frame(mood::GOOD), false).unwrap();
        }
        for _ in 0..STARVED_CALLS {
            supervised.note(now, Some(&starved));
        }
        let quarantined = supervised.reopen(now).unwrap_err();
        assert!(quarantined.is_quarantine(), "{quarantined}");
        assert!(stats.quiet_time_left().is_some());
    }

    #[test]
    fn a_verdict_between_two_faults_ends_the_row() {
        let plugins = moody();
        let mut supervised =
            SupervisedDetector::open(plugins.find_detector("moody").unwrap(), "{}".to_owned())
                .unwrap();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(
                supervised
                    .observe(now, &frame(mood::TRAP), false)
                    .unwrap_err()
                    .lost_instance()
            );
            supervised.reopen(now).unwrap();
            assert!(supervised.observe(now, &frame(mood::GOOD), false).is_ok());
        }
    }

    #[tokio::test]
    async fn a_plugin_with_three_quarantined_signals_is_quarantined_as_a_whole_until_it_is_lifted()
    {
        let (dir, mut config) = folder();
        config.store = Some(dir.path().join("store"));
        let plugins = Plugins::load(config.clone()).unwrap();
        let healthy = plugins.detector("moody", &json!({})).await.unwrap();
        for _ in 0..3 {
            let mut supervised =
                SupervisedDetector::open(plugins.find_detector("moody").unwrap(), "{}".to_owned())
                    .unwrap();
            let mut now = Instant::now();
            loop {
                assert!(supervised.observe(now, &frame(mood::TRAP), false).is_err());
                match supervised.reopen(now) {
                    Ok(()) => {}
                    Err(PluginError::BackingOff { retry_in, .. }) => {
                        now += retry_in;
                        supervised.reopen(now).unwrap();
                    }
                    Err(_) => break,
                }
            }
        }
        let is_quarantined = |error: PluginError| matches!(&error, PluginError::PluginQuarantined { reason, .. } if reason.contains("unreachable"));
        assert!(is_quarantined(
            plugins.detector("moody", &json!({})).await.err().unwrap()
        ));
        assert!(
            is_quarantined(healthy.observe(frame(mood::GOOD), false).await.unwrap_err()),
            "what is open as well"
        );
        plugins.look();
        let view = plugins.view("moody").unwrap();
        assert!(
            view.quarantine.is_some() && view.stats.faults == 15,
            "{view:?}"
        );
        drop(plugins);

        let plugins = Plugins::load(config).unwrap();
        assert!(
            is_quarantined(plugins.detector("moody", &json!({})).await.err().unwrap()),
            "also after a restart"
        );
        plugins.lift("moody", "ada").unwrap();
        assert!(plugins.detector("moody", &json!({})).await.is_ok());
    }
}
