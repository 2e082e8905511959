//! Plans: the steps of an action, one after another.

use crate::{Error, Operation, Outcome, Step, UnixMs, in_words};

/// Step machine: receives the outcome of the last step and returns the next step.
/// [`Plan::in_order`] covers the usual case.
pub trait Steps: 'static {
    /// Returns the next step. The first call receives [`Outcome::Begin`]. After a crash, a new
    /// machine receives the same outcomes.
    fn next(&mut self, now: UnixMs, last: Outcome) -> Result<Step, Error>;
}

/// Plan of an action.
pub struct Plan(Box<dyn Steps>);

/// Operations that the plan asked for, and their outcomes.
type Results = [(Operation, Outcome)];

impl Plan {
    /// Makes a plan with nothing (more) to do.
    pub fn finished(summary: impl Into<String>) -> Self {
        Self::steps(Only(Step::Finished(summary.into())))
    }

    /// Makes a plan that does nothing and gives up, with the reason.
    pub fn give_up(reason: impl Into<String>) -> Self {
        Self::steps(Only(Step::GaveUp(reason.into())))
    }

    /// Makes a plan that performs one operation after another, and ends with a summary of their
    /// results. It gives up at the first operation that is not done.
    pub fn in_order(
        operations: Vec<Operation>,
        summary: impl FnOnce(&Results) -> String + 'static,
    ) -> Self {
        Self::operations(operations, false, summary)
    }

    /// Makes a plan like [`Plan::in_order`] that continues after an operation that is not done. Use
    /// it for reads that are each useful alone. It gives up, with the summary as the reason, if no
    /// operation was done.
    pub fn as_far_as_possible(
        operations: Vec<Operation>,
        summary: impl FnOnce(&Results) -> String + 'static,
    ) -> Self {
        Self::operations(operations, true, summary)
    }

    /// Makes a plan from a custom step machine.
    pub fn steps(steps: impl Steps) -> Self {
        Self(Box::new(steps))
    }

    fn operations(
        operations: Vec<Operation>,
        goes_on: bool,
        summary: impl FnOnce(&Results) -> String + 'static,
    ) -> Self {
        let todo = operations.into_iter();
        Self::steps(InOrder {
            todo,
            asked: None,
            results: Vec::new(),
            goes_on,
            summary: Some(Box::new(summary)),
        })
    }
}

impl Steps for Plan {
    fn next(&mut self, now: UnixMs, last: Outcome) -> Result<Step, Error> {
        self.0.next(now, last)
    }
}

struct Only(Step);

impl Steps for Only {
    fn next(&mut self, _: UnixMs, _: Outcome) -> Result<Step, Error> {
        Ok(self.0.clone())
    }
}

type Summary = Box<dyn FnOnce(&Results) -> String>;

struct InOrder {
    todo: std::vec::IntoIter<Operation>,
    asked: Option<Operation>,
    results: Vec<(Operation, Outcome)>,
    goes_on: bool,
    summary: Option<Summary>,
}

impl Steps for InOrder {
    fn next(&mut self, _: UnixMs, last: Outcome) -> Result<Step, Error> {
        if let Some(asked) = self.asked.take() {
            let why_not = match &last {
                Outcome::Done(_) => None,
                Outcome::Denied(reason) => Some(format!("was denied: {reason}")),
                Outcome::Failed(reason) => Some(format!("failed: {reason}")),
                Outcome::InDoubt(reason) => Some(format!("may have happened or not: {reason}")),
                Outcome::Begin | Outcome::Waited => {
                    return Err(Error::Failed(
                        "told that nothing happened while an operation was asked for".to_owned(),
                    ));
                }
            };
            if let (Some(why_not), false) = (why_not, self.goes_on) {
                return Ok(Step::GaveUp(format!("{} {why_not}", in_words(&asked))));
            }
            self.results.push((asked, last));
        }
        if let Some(operation) = self.todo.next() {
            self.asked = Some(operation.clone());
            return Ok(Step::Perform(operation));
        }
        let done = |(_, outcome): &(Operation, Outcome)| matches!(outcome, Outcome::Done(_));
        match self.summary.take() {
            Some(summary) if self.results.is_empty() || self.results.iter().any(done) => {
                Ok(Step::Finished(summary(&self.results)))
            }
            Some(summary) => Ok(Step::GaveUp(summary(&self.results))),
            None => Err(Error::Failed("asked for a step after the last".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Operation {
        Operation::Query(text.to_owned())
    }

    fn done() -> Outcome {
        Outcome::Done("1".to_owned())
    }

    #[test]
    fn operations_are_asked_for_one_after_another_and_end_in_the_summary() {
        let mut plan = Plan::in_order(vec![query("a"), query("b")], |results| {
            format!("{} done", results.len())
        });
        assert_eq!(
            plan.next(0, Outcome::Begin).unwrap(),
            Step::Perform(query("a"))
        );
        assert_eq!(plan.next(0, done()).unwrap(), Step::Perform(query("b")));
        assert_eq!(
            plan.next(0, done()).unwrap(),
            Step::Finished("2 done".to_owned())
        );
        assert!(plan.next(0, done()).is_err());
    }

    #[test]
    fn what_is_not_done_ends_the_plan_with_the_reason() {
        for (outcome, word) in [
            (Outcome::Denied("cooldown".to_owned()), "denied: cooldown"),
            (Outcome::Failed("404".to_owned()), "failed: 404"),
            (Outcome::InDoubt("no answer".to_owned()), "no answer"),
        ] {
            let mut plan = Plan::in_order(vec![query("a"), query("b")], |_| String::new());
            plan.next(0, Outcome::Begin).unwrap();
            let Step::GaveUp(reason) = plan.next(0, outcome).unwrap() else {
                panic!("goes on after {word}")
            };
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn reads_go_on_after_one_that_failed() {
        let mut plan = Plan::as_far_as_possible(vec![query("a"), query("b")], |results| {
            format!("{results:?}")
        });
        plan.next(0, Outcome::Begin).unwrap();
        assert_eq!(
            plan.next(0, Outcome::Failed("no".to_owned())).unwrap(),
            Step::Perform(query("b"))
        );
        assert!(matches!(plan.next(0, done()).unwrap(), Step::Finished(_)));
    }

    #[test]
    fn reads_of_which_none_was_done_are_given_up() {
        let mut plan =
            Plan::as_far_as_possible(vec![query("a")], |_| "nothing was read".to_owned());
        plan.next(0, Outcome::Begin).unwrap();
        let end = plan.next(0, Outcome::Failed("no".to_owned())).unwrap();
        assert_eq!(end, Step::GaveUp("nothing was read".to_owned()));
    }
}
