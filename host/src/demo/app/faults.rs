//! Active faults with their strength and their end.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::duration;

/// A fault that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Leak: memory really grows by `strength` MiB a second.
    Leak,
    /// Slowdown: each request keeps its worker `strength` times as long.
    Slow,
    /// Errors: a share of `strength` of the requests is answered 500.
    Errors,
    /// Hang: no request is answered, including those for metrics.
    Hang,
    /// Blip: one bad second. It slows requests down like `slow` and ends by itself.
    Blip,
    /// Missing metrics: `/metrics` is answered 404, and everything else is served.
    Mute,
}

/// Default values and bounds of a fault.
struct Defaults {
    name: &'static str,
    strength: f64,
    strongest: f64,
    lasts: Option<Duration>,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Leak,
        Self::Slow,
        Self::Errors,
        Self::Hang,
        Self::Blip,
        Self::Mute,
    ];

    fn defaults(self) -> Defaults {
        let (name, strength, strongest, lasts) = match self {
            Self::Leak => ("leak", 20.0, 1000.0, None),
            Self::Slow => ("slow", 8.0, 1000.0, None),
            Self::Errors => ("errors", 0.3, 1.0, None),
            Self::Hang => ("hang", 1.0, 1.0, None),
            Self::Blip => ("blip", 10.0, 1000.0, Some(Duration::from_secs(1))),
            Self::Mute => ("mute", 1.0, 1.0, None),
        };
        Defaults {
            name,
            strength,
            strongest,
            lasts,
        }
    }

    /// Returns the fault with the given name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.defaults().name == name)
    }

    /// Returns all names in one line for people.
    pub fn names() -> String {
        Self::ALL.map(|fault| fault.defaults().name).join(", ")
    }
}

/// Request for a fault, as a query or as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Strength, in the unit of the fault.
    pub strength: Option<f64>,
    /// Duration. A missing value means until the fault is cleared (`blip`: one second).
    #[serde(default, rename = "for", with = "duration::option")]
    pub lasts: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    strength: f64,
    until: Option<Instant>,
}

/// Displayed state of an active fault.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Strength of the fault.
    pub strength: f64,
    /// Seconds until the fault ends by itself. Null means that it lasts until it is cleared.
    pub ends_in: Option<f64>,
}

/// The active faults.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<BTreeMap<Fault, Active>>,
    leaks_cleared: AtomicU64,
}

impl Faults {
    /// Switches a fault on.
    ///
    /// # Errors
    ///
    /// Returns an error if the strength or the duration is out of range.
    pub fn set(&self, fault: Fault, wanted: Wanted) -> Result<(), String> {
        let defaults = fault.defaults();
        let strength = wanted.strength.unwrap_or(defaults.strength);
        if !(strength > 0.0 && strength <= defaults.strongest) {
            return Err(format!(
                "the strength of `{}` must be above 0 and at most {}, not {strength}",
                defaults.name, defaults.strongest
            ));
        }
        let until = match wanted.lasts.or(defaults.lasts) {
            Some(lasts) => Some(
                Instant::now()
                    .checked_add(lasts)
                    .ok_or("`for` is too long")?,
            ),
            None => None,
        };
        self.with(Instant::now(), |active| {
            active.insert(fault, Active { strength, until })
        });
        Ok(())
    }

    /// Switches a fault off.
    pub fn clear(&self, fault: Fault) {
        self.with(Instant::now(), |active| active.remove(&fault));
        if fault == Fault::Leak {
            self.leaks_cleared.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Switches all faults off.
    pub fn clear_all(&self) {
        Fault::ALL.into_iter().for_each(|fault| self.clear(fault));
    }

    /// Returns the number of times that the leak was cleared by hand. The leaked memory is freed
    /// only then, and not when the fault ends by its own time.
    pub fn leaks_cleared(&self) -> u64 {
        self.leaks_cleared.load(Ordering::Relaxed)
    }

    /// Returns the present strength of a fault, or `None` if it is off.
    pub fn strength(&self, fault: Fault) -> Option<f64> {
        self.strength_at(fault, Instant::now())
    }

    fn strength_at(&self, fault: Fault, now: Instant) -> Option<f64> {
        self.with(now, |active| {
            active.get(&fault).map(|active| active.strength)
        })
    }

    /// Returns the factor by which requests keep their workers longer now.
    pub fn slowdown(&self) -> f64 {
        self.slowdown_at(Instant::now())
    }

    fn slowdown_at(&self, now: Instant) -> f64 {
        let strength = |fault| self.strength_at(fault, now).unwrap_or(1.0);
        strength(Fault::Slow).max(strength(Fault::Blip))
    }

    /// Returns all active faults.
    pub fn shown(&self) -> BTreeMap<Fault, Shown> {
        let now = Instant::now();
        self.with(now, |active| {
            let shown = |active: &Active| Shown {
                strength: active.strength,
                ends_in: active
                    .until
                    .map(|until| until.saturating_duration_since(now).as_secs_f64()),
            };
            active
                .iter()
                .map(|(fault, active)| (*fault, shown(active)))
                .collect()
        })
    }

    /// Removes the faults that have ended by `now`, and applies `work` to the others.
    fn with<T>(&self, now: Instant, work: impl FnOnce(&mut BTreeMap<Fault, Active>) -> T) -> T {
        let mut active = self.active.lock();
        active.retain(|_, active| active.until.is_none_or(|until| until > now));
        work(&mut active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blip_is_over_by_itself_and_a_slowdown_is_not() {
        let faults = Faults::default();
        faults.set(Fault::Slow, Wanted::default()).unwrap();
        faults.set(Fault::Blip, Wanted::default()).unwrap();
        let now = Instant::now();
        assert_eq!(faults.slowdown_at(now), 10.0);
        assert_eq!(faults.slowdown_at(now + Duration::from_secs(1)), 8.0);
        faults.clear_all();
        assert_eq!(faults.slowdown(), 1.0);
    }

    #[test]
    fn a_strength_out_of_its_range_is_refused() {
        let faults = Faults::default();
        for strength in [0.0, -1.0, f64::NAN, f64::INFINITY, 1.1] {
            assert!(
                faults
                    .set(
                        Fault::Errors,
                        Wanted {
                            strength: Some(strength),
                            lasts: None
                        }
                    )
                    .is_err(),
                "{strength}"
            );
        }
        assert!(faults.shown().is_empty());
    }
}
