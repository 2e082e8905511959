//! The scale of time of the experiments.

use std::collections::BTreeSet;
use std::sync::Once;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

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

/// Experiments that run now.
static RUNNING: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// Starts the thread that prints the running experiments.
static PRINTER: Once = Once::new();

/// Shows an experiment among the running ones until dropped, if the scale was chosen.
pub struct Progress(&'static str);

impl Progress {
    pub fn of(experiment: &'static str) -> Self {
        RUNNING.lock().insert(experiment);
        if std::env::var_os(VARIABLE).is_some() {
            PRINTER.call_once(|| {
                std::thread::spawn(print_running);
            });
        }
        Self(experiment)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        RUNNING.lock().remove(self.0);
    }
}

/// Prints the running experiments on a line every two seconds.
fn print_running() {
    let begun = Instant::now();
    loop {
        let running: Vec<&str> = RUNNING.lock().iter().copied().collect();
        if !running.is_empty() {
            println!("{} s: {}", begun.elapsed().as_secs(), running.join(", "));
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}
