//! Supervises a detector: opens a lost instance again, with a growing backoff, until it gives the
//! instance up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::detector::{Detector, DetectorInstance, Frame, Verdict};
use super::error::PluginError;
use super::state::Saved;

/// Backoff after the second fault in a row. Every further fault doubles it. The first fault has no
/// backoff.
const BACK_OFF: Duration = Duration::from_millis(250);
/// Number of faults in a row after which the instance is not opened again.
const QUARANTINE_AFTER: u32 = 5;

/// Supervised detector: an instance, with everything that is needed to open it again.
pub(super) struct SupervisedDetector {
    plugin: Arc<Detector>,
    settings: String,
    monitor: DetectorInstance,
    faults: u32,
    not_before: Instant,
    last_fault: String,
}

impl SupervisedDetector {
    /// Opens the instance for the first time.
    pub(super) fn open(plugin: Arc<Detector>, settings: String) -> Result<Self, PluginError> {
        let monitor = DetectorInstance::open(plugin.clone(), &settings)?;
        Ok(Self {
            plugin,
            settings,
            monitor,
            faults: 0,
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
    ) -> Result<Verdict, PluginError> {
        self.plugin.ground.admit(&self.plugin.name)?;
        let answer = self.monitor.observe(frame, want_scores);
        if answer.is_ok() {
            self.faults = 0;
        }
        self.note(now, answer.as_ref().err());
        answer
    }

    /// Asks the detector for its state. Faults count like the faults of a frame. Only a verdict
    /// ends a row of faults.
    pub(super) fn save(
        &mut self,
        now: Instant,
        of: Option<u32>,
    ) -> Result<Option<Vec<u8>>, PluginError> {
        let answer = self.monitor.save(of);
        self.note(now, answer.as_ref().err());
        answer
    }

    /// Restores the detector's saved state.
    pub(super) fn restore(&mut self, now: Instant, saved: &Saved) -> Result<(), PluginError> {
        let answer = self.monitor.restore(saved);
        self.note(now, answer.as_ref().err());
        answer
    }

    fn note(&mut self, now: Instant, error: Option<&PluginError>) {
        if let Some(error) = error.filter(|error| error.is_fault()) {
            self.fault(now, error);
        }
    }

    /// Opens the instance again, with empty state, if the backoff is over.
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
            Ok(monitor) => {
                self.monitor = monitor;
                Ok(())
            }
            Err(error) => {
                // Every error counts as a fault, because the detector opened with these settings
                // before.
                self.fault(now, &error);
                Err(error)
            }
        }
    }

    fn fault(&mut self, now: Instant, error: &PluginError) {
        self.faults += 1;
        let wait = match self.faults {
            1 => Duration::ZERO,
            faults => BACK_OFF * (1 << (faults - 2).min(QUARANTINE_AFTER)),
        };
        self.not_before = now + wait;
        self.last_fault = error.to_string();
        let stats = self.plugin.ground.stats.of(&self.plugin.name);
        stats.fault(&self.last_fault);
        if self.faults == QUARANTINE_AFTER {
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
