//! What the handlers share.

use parking_lot::Mutex;
use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::Feedback;
use anomalyzer_domain::{Clock, Grant};
use anomalyzer_history::History;
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{KillSwitch, Silences};

use super::access::Access;
use super::doors::Doors;
use super::kill_switch::OnRecord;
use super::plugins::PluginRoom;
use super::test_metric;

/// What tells how the process is: all that the engine shows.
#[derive(Clone)]
pub(super) struct Vitals {
    pub doors: Arc<dyn Doors>,
    pub metrics: Metrics,
    pub history: Option<History>,
}

/// What the handlers of the server share.
#[derive(Clone)]
pub struct ApiState {
    pub(super) access: Access,
    pub(super) doors: Arc<dyn Doors>,
    pub(super) history: History,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    /// What waits for a decision ends then.
    pub(super) shutdown: CancellationToken,
    /// The value that `/send-test-metric` sent last.
    pub(super) last_test: Arc<Mutex<Option<f64>>>,
    pub(super) plugins: Option<PluginRoom>,
    pub(super) kill_switch: Option<KillSwitch>,
    pub(super) stop_on_record: OnRecord,
    pub(super) silences: Option<Silences>,
    pub(super) feedback: Option<Feedback>,
    /// Places for tests that wait for their decision.
    pub(super) tests: Arc<Semaphore>,
}

impl ApiState {
    /// What [`super::router`] is made of.
    pub fn new(
        access: Access,
        doors: Arc<dyn Doors>,
        history: History,
        metrics: Metrics,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        let tests = Arc::new(Semaphore::new(test_metric::AT_ONCE));
        let last_test = Arc::default();
        Self {
            access,
            doors,
            history,
            metrics,
            clock,
            shutdown,
            last_test,
            plugins: None,
            kill_switch: None,
            stop_on_record: OnRecord::default(),
            silences: None,
            feedback: None,
            tests,
        }
    }

    /// Opens the door for plugins as well. `configured` are the grants of the configuration,
    /// `watched_by` the detectors that its signals name.
    #[must_use]
    pub fn with_plugins(
        mut self,
        plugins: Plugins,
        configured: Vec<Grant>,
        watched_by: Vec<String>,
    ) -> Self {
        self.plugins = Some(PluginRoom::new(plugins, configured, watched_by));
        self
    }

    /// Opens the door for the kill switch as well.
    #[must_use]
    pub fn with_kill_switch(mut self, kill_switch: KillSwitch) -> Self {
        self.kill_switch = Some(kill_switch);
        self
    }

    /// Opens the door for silences as well.
    #[must_use]
    pub fn with_silences(mut self, silences: Silences) -> Self {
        self.silences = Some(silences);
        self
    }

    /// Opens the door for what people say of findings as well.
    #[must_use]
    pub fn with_feedback(mut self, feedback: Feedback) -> Self {
        self.feedback = Some(feedback);
        self
    }

    /// Notes down what was sent last.
    pub(super) fn show(&self, value: f64) {
        *self.last_test.lock() = Some(value);
    }
}

impl FromRef<ApiState> for Vitals {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            doors: Arc::clone(&state.doors),
            metrics: state.metrics.clone(),
            history: Some(state.history.clone()),
        }
    }
}

impl FromRef<ApiState> for History {
    fn from_ref(state: &ApiState) -> Self {
        state.history.clone()
    }
}

/// What the handlers of the engine share.
#[derive(Clone)]
pub struct EngineState {
    pub(super) access: Access,
    pub(super) doors: Arc<dyn Doors>,
    pub(super) metrics: Metrics,
}

impl EngineState {
    /// What [`super::engine_router`] is made of.
    pub fn new(access: Access, doors: Arc<dyn Doors>, metrics: Metrics) -> Self {
        Self {
            access,
            doors,
            metrics,
        }
    }
}

impl FromRef<EngineState> for Vitals {
    fn from_ref(state: &EngineState) -> Self {
        Self {
            doors: Arc::clone(&state.doors),
            metrics: state.metrics.clone(),
            history: None,
        }
    }
}
