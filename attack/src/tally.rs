//! The counts of one row.

use std::fmt::Display;

/// Attempts and faults.
#[derive(Debug, Default)]
pub struct Tally {
    /// Number of attempts.
    pub attempts: u64,
    /// A sentence for each fault.
    pub faults: Vec<String>,
    /// True if the row could not run to its end.
    pub broken: bool,
    /// Figures that are worth knowing.
    pub notes: Vec<(String, String)>,
}

impl Tally {
    /// Returns the tally of a row that could not run.
    pub fn broken(why: &str) -> Self {
        Self {
            faults: vec![format!("the row did not run to its end: {why}")],
            broken: true,
            ..Self::default()
        }
    }

    /// Counts an attempt, and a fault with the text of `fault` if `held` is false.
    pub fn attempt(&mut self, held: bool, fault: impl FnOnce() -> String) {
        self.attempts += 1;
        self.check(held, fault);
    }

    /// Counts a fault if `held` is false, without an attempt.
    pub fn check(&mut self, held: bool, fault: impl FnOnce() -> String) {
        if !held {
            self.faults.push(fault());
        }
    }

    /// Adds a figure.
    pub fn note(&mut self, name: &str, value: &dyn Display) {
        self.notes.push((name.to_owned(), value.to_string()));
    }
}

/// Returns the text of an outcome in one line, without a backtrace.
pub fn shown<T>(outcome: &anyhow::Result<T>) -> String {
    match outcome {
        Ok(_) => "it went well".to_owned(),
        Err(error) => format!("{error:#}").replace('\n', " / "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_only_where_an_attempt_did_not_hold() {
        let mut tally = Tally::default();
        tally.attempt(true, || unreachable!());
        tally.attempt(false, || "it broke".to_owned());
        assert_eq!((tally.attempts, tally.faults.len()), (2, 1));
    }
}
