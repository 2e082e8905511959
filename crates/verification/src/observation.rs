//! Time for which the samples after an operation are gathered.

use std::time::Duration;

use anomalyzer_domain::duration;
use serde::Serialize;

use super::VerifyConfig;

/// Timing of the samples of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SignalTiming {
    /// Time before a sample that it depends on, such as the range `[5m]` of its query.
    #[serde(with = "duration")]
    pub look_back: Duration,
    /// Time between two samples.
    #[serde(with = "duration")]
    pub interval: Duration,
}

/// Time at which the effect of an operation is judged, counted from the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// End of the gathering of samples.
    pub until: Duration,
    /// Reason why the gathering ends later than configured, if it does.
    pub lengthened: Option<String>,
}

impl VerifyConfig {
    /// Returns the end of the gathering of samples, after an effect that takes `settle` to show.
    ///
    /// A sample that depends on the time before the operation does not count. The gathering is
    /// therefore lengthened until each of `signals` has enough samples that do not, but never
    /// beyond [`Self::observe_at_most`]: a signal that needs longer is not waited for. Without a
    /// configured time nothing is gathered, and nothing is lengthened.
    pub fn observation<'a>(
        &self,
        settle: Duration,
        signals: impl IntoIterator<Item = (&'a str, SignalTiming)>,
    ) -> Observation {
        let configured = settle.saturating_add(self.observe);
        let needs = signals
            .into_iter()
            .filter(|(_, timing)| !self.observe.is_zero() && !timing.look_back.is_zero())
            .map(|(signal, timing)| (self.needed(settle, timing), signal, timing))
            .filter(|(needed, ..)| *needed <= self.observe_at_most);
        let longest = needs.max_by_key(|(needed, ..)| *needed);
        match longest {
            Some((needed, signal, timing)) if needed > configured => Observation {
                until: needed,
                lengthened: Some(format!(
                    "judged {} after the operation instead of {}, because a sample of {signal} depends on the {} before it",
                    duration::format(needed),
                    duration::format(configured),
                    duration::format(timing.look_back)
                )),
            },
            _ => Observation {
                until: configured,
                lengthened: None,
            },
        }
    }

    /// Returns the time after which a signal has enough samples that do not depend on the time
    /// before the operation.
    pub fn needed(&self, settle: Duration, timing: SignalTiming) -> Duration {
        // The first sample comes up to one interval after the begin.
        let intervals = self.min_samples.saturating_add(1);
        let gathered = timing.interval.saturating_mul(intervals);
        settle.max(timing.look_back).saturating_add(gathered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn timing(look_back: u64, interval: u64) -> SignalTiming {
        SignalTiming {
            look_back: Duration::from_secs(look_back),
            interval: Duration::from_secs(interval),
        }
    }

    #[test]
    fn the_gathering_is_lengthened_until_there_are_samples_without_the_time_before() {
        let config = VerifyConfig::default();
        let configured = config.settle + config.observe;
        for (timings, until, why) in [
            (vec![], configured, None),
            (vec![timing(0, 15)], configured, None),
            (vec![timing(0, 300)], configured, None),
            (vec![timing(60, 15)], configured, None),
            (vec![timing(120, 15)], configured, None),
            (
                vec![timing(300, 15)],
                6 * MINUTE,
                Some("depends on the 5m before it"),
            ),
            (
                vec![timing(300, 15), timing(600, 15), timing(0, 15)],
                11 * MINUTE,
                Some("s1"),
            ),
            (
                vec![timing(1_740, 15)],
                30 * MINUTE,
                Some("depends on the 29m before it"),
            ),
            // A signal beyond the bound is not waited for, and holds up no other one.
            (vec![timing(1_741, 15)], configured, None),
            (
                vec![timing(86_400, 15), timing(300, 15)],
                6 * MINUTE,
                Some("s1"),
            ),
            (vec![timing(u64::MAX, u64::MAX)], configured, None),
        ] {
            let named: Vec<_> = (0..).map(|at| format!("s{at}")).zip(timings).collect();
            let signals = named.iter().map(|(name, timing)| (name.as_str(), *timing));
            let observation = config.observation(config.settle, signals);
            assert_eq!(observation.until, until, "{named:?}");
            match (observation.lengthened, why) {
                (None, None) => {}
                (Some(told), Some(why)) => {
                    assert!(
                        told.contains(why) && told.contains("instead of 3m"),
                        "{told}"
                    );
                }
                (told, _) => panic!("{named:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn without_a_time_to_gather_nothing_is_lengthened() {
        let config = VerifyConfig {
            observe: Duration::ZERO,
            ..VerifyConfig::default()
        };
        let observation = config.observation(MINUTE, [("s", timing(300, 15))]);
        assert_eq!((observation.until, observation.lengthened), (MINUTE, None));
    }
}
