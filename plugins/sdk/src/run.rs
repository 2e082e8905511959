//! Run of an action: reads its input and passes its steps on.

use crate::bindings::action::exports::anomalyzer::plugin::action as wit;
use crate::{Action, Error, Incident, Outcome, Plan, Step, Steps, UnixMs, parse};

/// Implementation of the contract's `run`. Native code (tests) can use it as well.
pub struct Run(Plan);

impl Run {
    /// Opens an action on an incident, with parameters as JSON.
    pub fn open<A: Action>(incident: &wit::Incident, parameters: &str) -> Result<Self, Error> {
        let parameters = parse::settings(parameters)?;
        A::plan(&Incident::read(incident)?, parameters).map(Self)
    }

    /// Returns the next step.
    pub fn next(&mut self, now: UnixMs, last: Outcome) -> Result<Step, Error> {
        self.0.next(now, last)
    }
}
