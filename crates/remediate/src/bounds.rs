//! What one run of an action may use up: an action that never finishes is ended between two steps,
//! so that no operation is cut off in the middle.

use std::time::Duration;

use tokio::time::Instant;

use super::ActorConfig;

/// Longest wait that an action gets at once.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Bounds<'a> {
    config: &'a ActorConfig,
    deadline: Option<Instant>,
    steps: u32,
    operations: u32,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(config: &'a ActorConfig) -> Self {
        Self {
            config,
            deadline: Instant::now().checked_add(config.action_timeout),
            steps: 0,
            operations: 0,
        }
    }

    /// Counts a step. The error names the limit.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let ActorConfig {
            most_steps,
            action_timeout,
            ..
        } = self.config;
        self.steps += 1;
        if self.steps > *most_steps {
            return Err(format!(
                "the action took more than {most_steps} steps; see act.most_steps"
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

    /// Counts an operation, and says which it is. The error names the limit.
    pub(super) fn operation(&mut self) -> Result<u32, String> {
        let most = self.config.most_operations;
        self.operations += 1;
        if self.operations > most {
            return Err(format!(
                "the action asked for more than {most} operations; see act.most_operations"
            ));
        }
        Ok(self.operations)
    }

    /// How long to wait, of what was asked for.
    pub(super) fn wait(&self, asked: Duration) -> Duration {
        let left = self.deadline.map_or(LONGEST_WAIT, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        asked.min(LONGEST_WAIT).min(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_has_so_many_steps_and_operations_and_no_more() {
        let config = ActorConfig {
            most_steps: 3,
            most_operations: 2,
            ..ActorConfig::default()
        };
        let mut bounds = Bounds::new(&config);
        assert_eq!((bounds.operation(), bounds.operation()), (Ok(1), Ok(2)));
        assert!(
            bounds
                .operation()
                .unwrap_err()
                .contains("act.most_operations")
        );
        assert!((0..3).all(|_| bounds.step().is_ok()));
        assert!(bounds.step().unwrap_err().contains("act.most_steps"));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_time_of_the_action() {
        let config = ActorConfig {
            action_timeout: Duration::from_secs(90),
            ..ActorConfig::default()
        };
        let mut bounds = Bounds::new(&config);
        let day = Duration::from_secs(86_400);
        for expected in [60, 30, 0] {
            let wait = bounds.wait(day);
            assert_eq!(wait, Duration::from_secs(expected));
            tokio::time::advance(wait).await;
        }
        assert!(bounds.step().unwrap_err().contains("act.action_timeout"));
    }
}
