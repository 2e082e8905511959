//! Runs an action against a simulated world.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::cases;
use crate::report::Failure;
use anomalyzer_domain::{Allowance, Operation, UnixMs};
use anomalyzer_plugin_host::{
    ActionIncident, ActionOutcome, ActionRun, ActionStep, PluginError, PluginInfo, Plugins,
};
use anomalyzer_policy::grants::permit;
use anomalyzer_remediate::ExecutorConfig;

/// The time 2026-01-01T00:00:00Z.
const NOW: UnixMs = 1_767_225_600_000;
/// Simulated duration of an operation in milliseconds.
const TAKES_MS: i64 = 250;
/// Maximum number of steps of a run. It is above the number of operations that the host allows plus
/// waits of one second for all the time that the host gives an action.
const MAX_STEPS: usize = 1000;

/// An action on trial, with the results of all its runs.
pub(super) struct Stage<'a> {
    plugins: &'a Plugins,
    plugin: &'a PluginInfo,
    parameters: &'a Value,
    needs: Vec<(String, String)>,
    kind: String,
    limits: ExecutorConfig,
    asked: usize,
    undeclared: BTreeSet<String>,
    without_message: Option<String>,
}

/// Record of one run of an action.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) steps: Vec<ActionStep>,
    /// Reason why the run was cut short.
    pub(super) cut_short: Option<String>,
}

impl Played {
    pub(super) fn operations(&self) -> usize {
        self.steps
            .iter()
            .filter(|step| matches!(step, ActionStep::Perform(_)))
            .count()
    }
}

impl<'a> Stage<'a> {
    pub(super) fn new(plugins: &'a Plugins, plugin: &'a PluginInfo, parameters: &'a Value) -> Self {
        let needs = plugins.needs(&plugin.name);
        Self {
            plugins,
            plugin,
            parameters,
            kind: kind_for(&needs).to_owned(),
            needs,
            limits: ExecutorConfig::default(),
            asked: 0,
            undeclared: BTreeSet::new(),
            without_message: None,
        }
    }

    /// Returns the kind of the target that the action is tried on.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns an ordinary incident on a target of that kind.
    pub(super) fn usual(&self) -> ActionIncident {
        cases::usual(&self.kind)
    }

    pub(super) async fn open(
        &self,
        incident: &ActionIncident,
        parameters: &Value,
    ) -> Result<ActionRun, PluginError> {
        self.plugins
            .action(&self.plugin.name, incident.clone(), parameters)
            .await
    }

    /// Opens the action with the parameters of the trial.
    pub(super) async fn open_usual(
        &self,
        incident: &ActionIncident,
    ) -> Result<ActionRun, PluginError> {
        self.open(incident, self.parameters).await
    }

    /// Returns the linear memory of all open instances in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.plugins.health().memory_bytes
    }

    /// Plays the action from its first step to an end. `world` receives the index of the operation
    /// in the run. Waits take no real time.
    pub(super) async fn play(
        &mut self,
        incident: &ActionIncident,
        mut world: impl FnMut(usize, &Operation) -> ActionOutcome,
    ) -> Result<Played, PluginError> {
        let run = self.open_usual(incident).await?;
        let mut played = Played::default();
        let (mut now, mut operations, mut waited) = (NOW, 0, Duration::ZERO);
        let mut last = ActionOutcome::Begin;
        while played.steps.len() < MAX_STEPS {
            let step = run.next(now, last).await?;
            played.steps.push(step.clone());
            last = match step {
                ActionStep::Perform(operation) => {
                    self.note(&operation);
                    operations += 1;
                    if operations > self.limits.max_operations as usize {
                        played.cut_short = Some(format!(
                            "it asks for more than the {} operations that it gets",
                            operations - 1
                        ));
                        return Ok(played);
                    }
                    now += TAKES_MS;
                    world(operations - 1, &operation)
                }
                ActionStep::WaitMs(ms) => {
                    waited += Duration::from_millis(u64::from(ms));
                    if waited > self.limits.action_timeout {
                        let limit = self.limits.action_timeout;
                        played.cut_short = Some(format!(
                            "it waits for longer than the {limit:?} that it gets"
                        ));
                        return Ok(played);
                    }
                    now += i64::from(ms);
                    ActionOutcome::Waited
                }
                ActionStep::Finished(message) | ActionStep::GaveUp(message) => {
                    if message.trim().is_empty() {
                        self.without_message = Some(format!("after {operations} operations"));
                    }
                    return Ok(played);
                }
            };
        }
        played.cut_short = Some(format!("it does not end within {MAX_STEPS} steps"));
        Ok(played)
    }

    fn note(&mut self, operation: &Operation) {
        self.asked += 1;
        // All operations are granted, so that only the declared needs can refuse one.
        let everywhere = vec!["*".to_owned()];
        let grants = [Allowance {
            operation: operation.kind().to_owned(),
            scope: "*".to_owned(),
            namespaces: everywhere,
            effect: None,
        }];
        if let Err(why) = permit(&self.plugin.name, &self.needs, &grants, operation, None) {
            self.undeclared.insert(why);
        }
    }

    /// Returns the number of requested operations over all runs.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// Returns an error if any run requested an operation that the action does not declare.
    pub(super) fn undeclared(&self) -> Result<(), Failure> {
        if self.undeclared.is_empty() {
            return Ok(());
        }
        let all = self
            .undeclared
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ");
        let remedy = "declare it in `needs`, or give up where the target is of another kind: what is not declared is denied, \
                      whatever is granted";
        Err(Failure::new(all, "all runs", remedy))
    }

    /// Returns an error if any run ended without a message.
    pub(super) fn without_message(&self) -> Result<(), Failure> {
        match &self.without_message {
            None => Ok(()),
            Some(place) => {
                let remedy =
                    "say in one line what was done or why it was given up: it is what people read";
                Err(Failure::new("it ends without a word", place, remedy))
            }
        }
    }
}

/// Returns the kind to try the action on: Deployment, unless the action declares other kinds only.
fn kind_for(needs: &[(String, String)]) -> &str {
    const OF_TARGETS: [&str; 6] = [
        "inspect",
        "read_logs",
        "scale",
        "restart",
        "roll_back",
        "patch",
    ];
    let of_target = |(operation, _): &&(String, String)| {
        OF_TARGETS.contains(&operation.replace('-', "_").as_str())
    };
    let kinds = needs
        .iter()
        .filter(of_target)
        .filter_map(|(_, scope)| scope.split('/').next());
    let kinds: Vec<&str> = kinds.filter(|kind| *kind != "*").collect();
    if kinds.contains(&"Deployment") {
        "Deployment"
    } else {
        kinds.first().copied().unwrap_or("Deployment")
    }
}

#[cfg(test)]
mod tests {
    use super::kind_for;

    #[test]
    fn an_action_is_tried_on_a_kind_that_it_is_for() {
        let tried_on = |needs: &[(&str, &str)]| {
            let needs: Vec<_> = needs
                .iter()
                .map(|(name, scope)| ((*name).to_owned(), (*scope).to_owned()))
                .collect();
            kind_for(&needs).to_owned()
        };
        assert_eq!(tried_on(&[]), "Deployment");
        assert_eq!(
            tried_on(&[("notify", "on-call"), ("inspect", "*")]),
            "Deployment"
        );
        assert_eq!(
            tried_on(&[("scale", "StatefulSet"), ("scale", "Deployment")]),
            "Deployment"
        );
        assert_eq!(
            tried_on(&[("inspect", "*"), ("patch", "CronJob.batch/spec/suspend")]),
            "CronJob.batch"
        );
    }
}
