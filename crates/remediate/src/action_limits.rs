//! Limits of one run of an action: steps, operations and time.
//!
//! A run over its limits ends between two steps, so that no operation is cut off in the middle.

use std::time::Duration;

use tokio::time::Instant;

use super::ExecutorConfig;

/// Maximum duration of one wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Use of one run of an action, against the limits.
pub(super) struct ActionLimits<'a> {
    config: &'a ExecutorConfig,
    deadline: Option<Instant>,
    steps: u32,
    operations: u32,
}

impl<'a> ActionLimits<'a> {
    pub(super) fn new(config: &'a ExecutorConfig) -> Self {
        Self {
            config,
            deadline: Instant::now().checked_add(config.action_timeout),
            steps: 0,
            operations: 0,
        }
    }

    /// Counts a step. The error names the limit.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let ExecutorConfig {
            max_steps,
            action_timeout,
            ..
        } = self.config;
        self.steps += 1;
        if self.steps > *max_steps {
            return Err(format!(
                "the action took more than {max_steps} steps; see act.most_steps"
            ));
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(format!(
                "the action took longer than {action_timeout:?}; see act.action_timeout"
            ));
        }
        Ok(())
    }

    /// Counts an operation and returns its number. The error names the limit.
    pub(super) fn operation(&mut self) -> Result<u32, String> {
        let max_operations = self.config.max_operations;
        self.operations += 1;
        if self.operations > max_operations {
            return Err(format!(
                "the action asked for more than {max_operations} operations; see act.most_operations"
            ));
        }
        Ok(self.operations)
    }

    /// Returns the duration to wait if the action asks for `asked`.
    pub(super) fn wait(&self, asked: Duration) -> Duration {
        let left = self.deadline.map_or(MAX_WAIT, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        asked.min(MAX_WAIT).min(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_has_so_many_steps_and_operations_and_no_more() {
        let config = ExecutorConfig {
            max_steps: 3,
            max_operations: 2,
            ..ExecutorConfig::default()
        };
        let mut limits = ActionLimits::new(&config);
        assert_eq!((limits.operation(), limits.operation()), (Ok(1), Ok(2)));
        assert!(
            limits
                .operation()
                .unwrap_err()
                .contains("act.most_operations")
        );
        assert!((0..3).all(|_| limits.step().is_ok()));
        assert!(limits.step().unwrap_err().contains("act.most_steps"));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_time_of_the_action() {
        let config = ExecutorConfig {
            action_timeout: Duration::from_secs(90),
            ..ExecutorConfig::default()
        };
        let mut limits = ActionLimits::new(&config);
        let day = Duration::from_secs(86_400);
        for expected in [60, 30, 0] {
            let wait = limits.wait(day);
            assert_eq!(wait, Duration::from_secs(expected));
            tokio::time::advance(wait).await;
        }
        assert!(limits.step().unwrap_err().contains("act.action_timeout"));
    }
}
