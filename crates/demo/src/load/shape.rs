//! Rate of the traffic over time: a daily curve, noise and surges.

use parking_lot::Mutex;
use std::f64::consts::TAU;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use super::settings::LoadSettings;

/// Share of the noise that remains after one step. Half of the noise is gone after some seven
/// seconds.
const MEMORY: f64 = 0.9;
/// Time between two steps of the noise.
const STEP: Duration = Duration::from_secs(1);

/// Rate of the traffic without surges.
#[derive(Clone, Debug)]
pub struct Shape {
    rate: f64,
    noise: f64,
    day: Duration,
    amplitude: f64,
    /// Random drift with mean 0 and standard deviation 1.
    drift: f64,
    drifted: Duration,
}

impl Shape {
    /// Checks the settings and creates the shape.
    pub fn new(settings: &LoadSettings) -> anyhow::Result<Self> {
        let LoadSettings {
            rate,
            noise,
            day,
            amplitude,
            ..
        } = *settings;
        ensure!(
            (0.0..=100_000.0).contains(&rate),
            "--rate must be from 0 to 100000 requests a second, not {rate}"
        );
        ensure!(
            (0.0..=1.0).contains(&noise),
            "--noise must be from 0 to 1, not {noise}"
        );
        ensure!(
            (0.0..=1.0).contains(&amplitude),
            "--amplitude must be from 0 to 1, not {amplitude}"
        );
        ensure!(!day.is_zero(), "--day must not be 0");
        Ok(Self {
            rate,
            noise,
            day,
            amplitude,
            drift: 0.0,
            drifted: Duration::ZERO,
        })
    }

    /// Returns the requests per second at the time `since_start`. A day begins at its mean and
    /// rises.
    pub fn rate(&mut self, since_start: Duration) -> f64 {
        // After a long pause (such as a laptop asleep), a few steps are as good as all of them.
        for _ in 0..100 {
            if self.drifted + STEP > since_start {
                break;
            }
            self.drifted += STEP;
            self.drift = MEMORY * self.drift + (1.0 - MEMORY * MEMORY).sqrt() * normal();
        }
        let day = (TAU * since_start.as_secs_f64() / self.day.as_secs_f64()).sin();
        (self.rate * (1.0 + self.amplitude * day) * (1.0 + self.noise * self.drift)).max(0.0)
    }
}

/// Returns a normally distributed number with mean 0 and standard deviation 1 (Box and Muller,
/// 1958).
fn normal() -> f64 {
    (-2.0 * (1.0 - fastrand::f64()).ln()).sqrt() * (TAU * fastrand::f64()).cos()
}

/// Factor that multiplies the rate, with its end.
#[derive(Debug, Default)]
pub struct Surges(Mutex<Option<(f64, Option<Instant>)>>);

impl Surges {
    /// Multiplies the rate by `factor` from now on, for the duration `lasts` or until the next
    /// change.
    pub fn set(&self, factor: f64, lasts: Option<Duration>) {
        let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts));
        *self.0.lock() = Some((factor, until));
    }

    /// Returns the present factor.
    pub fn factor(&self) -> f64 {
        self.factor_at(Instant::now())
    }

    fn factor_at(&self, now: Instant) -> f64 {
        match *self.0.lock() {
            Some((factor, until)) if until.is_none_or(|until| until > now) => factor,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_has_a_busy_and_a_quiet_quarter() {
        let day = Duration::from_secs(600);
        let settings = LoadSettings {
            rate: 100.0,
            noise: 0.0,
            day,
            amplitude: 0.3,
            ..LoadSettings::default()
        };
        let mut shape = Shape::new(&settings).unwrap();
        for (part, rate) in [(0.0, 100.0), (0.25, 130.0), (0.5, 100.0), (0.75, 70.0)] {
            assert!((shape.rate(day.mul_f64(part)) - rate).abs() < 1e-6);
        }
    }

    #[test]
    fn the_noise_has_the_deviation_that_was_asked_for() {
        let settings = LoadSettings {
            rate: 1.0,
            noise: 0.1,
            amplitude: 0.0,
            ..LoadSettings::default()
        };
        let mut shape = Shape::new(&settings).unwrap();
        let rates: Vec<f64> = (0..20_000)
            .map(|second| shape.rate(Duration::from_secs(second)))
            .collect();
        let deviation = (rates.iter().map(|rate| (rate - 1.0).powi(2)).sum::<f64>()
            / rates.len() as f64)
            .sqrt();
        assert!((0.08..0.12).contains(&deviation), "{deviation}");
    }

    #[test]
    fn a_surge_is_over_by_itself() {
        let surges = Surges::default();
        surges.set(4.0, Some(Duration::from_secs(20)));
        let now = Instant::now();
        assert_eq!(surges.factor_at(now), 4.0);
        assert_eq!(surges.factor_at(now + Duration::from_secs(20)), 1.0);
    }
}
