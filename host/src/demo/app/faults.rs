//! Which faults are on, how strong, and until when.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::duration;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Memory grows by `strength` MiB a second, for real.
    Leak,
    /// Each request keeps its worker `strength` times as long.
    Slow,
    /// A share of `strength` of the requests is answered 500.
    Errors,
    /// Nothing is answered, metrics included.
    Hang,
    /// One bad second: as `slow`, but over by itself.
    Blip,
    /// `/metrics` is answered 404; everything else is served.
    Mute,
}

/// What a fault is given when nothing is said.
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

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.defaults().name == name)
    }

    /// All names, for people.
    pub fn names() -> String {
        Self::ALL.map(|fault| fault.defaults().name).join(", ")
    }
}

/// How a fault is asked for, as a query or as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How strong; the unit is the fault's.
    pub strength: Option<f64>,
    /// For how long; until it is cleared if it is missing (`blip`: a second).
    #[serde(default, rename = "for", with = "duration::option")]
    pub lasts: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    strength: f64,
    until: Option<Instant>,
}

/// A fault that is on, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// How strong.
    pub strength: f64,
    /// Seconds until it is over by itself. Null: not before it is cleared.
    pub ends_in: Option<f64>,
}

/// The faults that are on.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<BTreeMap<Fault, Active>>,
    leaks_cleared: AtomicU64,
}

impl Faults {
    /// Switches a fault on, or says what is wrong with the wish.
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

    /// How often the leak was cleared by hand: what it took is given back then, and not when it
    /// ends by its own time.
    pub fn leaks_cleared(&self) -> u64 {
        self.leaks_cleared.load(Ordering::Relaxed)
    }

    /// How strong a fault is now; none if it is off.
    pub fn strength(&self, fault: Fault) -> Option<f64> {
        self.strength_at(fault, Instant::now())
    }

    fn strength_at(&self, fault: Fault, now: Instant) -> Option<f64> {
        self.with(now, |active| {
            active.get(&fault).map(|active| active.strength)
        })
    }

    /// How many times as long each request keeps its worker now.
    pub fn slowdown(&self) -> f64 {
        self.slowdown_at(Instant::now())
    }

    fn slowdown_at(&self, now: Instant) -> f64 {
        let strength = |fault| self.strength_at(fault, now).unwrap_or(1.0);
        strength(Fault::Slow).max(strength(Fault::Blip))
    }

    /// All that is on.
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

    /// Works on what is on at that time.
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
