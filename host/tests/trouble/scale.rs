//! The scale of time of the experiments.

use std::time::{Duration, Instant};

/// Variable that sets the divisor of all times.
const VARIABLE: &str = "ANOMALYZER_TROUBLE_SCALE";

/// Time that one step on this machine may take, beside the times of an experiment.
pub const SLACK: Duration = Duration::from_secs(60);

/// Returns the divisor of all times.
pub fn scale() -> u32 {
    let given = std::env::var(VARIABLE).ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(40).max(1)
}

/// Returns the scaled time for a number of seconds of reality.
pub fn seconds(real: u64) -> Duration {
    Duration::from_secs(real) / scale()
}

pub fn minutes(real: u64) -> Duration {
    seconds(real * 60)
}

/// Writes the scaled time for a number of seconds of reality, as the configuration has it.
pub fn text(real: u64) -> String {
    format!("'{}ms'", seconds(real).as_millis().max(1))
}

/// Prints the progress of an experiment once a second, if the scale was chosen. Ends when dropped.
pub struct Progress(Option<tokio::task::JoinHandle<()>>);

impl Progress {
    pub fn of(experiment: &'static str) -> Self {
        let begun = Instant::now();
        Self(std::env::var_os(VARIABLE).map(|_| {
            tokio::spawn(async move {
                loop {
                    println!("{experiment}: {} s", begun.elapsed().as_secs());
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            })
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
