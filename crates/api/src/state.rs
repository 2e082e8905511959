//! State that the handlers share.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use anomalyzer_common::metrics::Metrics;
use anomalyzer_detect::Feedback;
use anomalyzer_domain::{Clock, Grant};
use anomalyzer_history::{History, HistoryReader};
use anomalyzer_plugin_host::Plugins;
use anomalyzer_remediate::{KillSwitch, Silences};

use super::auth::Access;
use super::backend::{Backend, ProbeBackend};
use super::limits::MAX_CONCURRENT_TESTS;
use super::plugins_state::PluginsState;

/// State of the kill switch in the record: `None` until it was read. A handler holds the lock while
/// it switches, so that the record and the file agree.
pub(super) type RecordedSwitch = Arc<tokio::sync::Mutex<Option<bool>>>;

/// State behind `/health` and `/metrics`, for every role.
#[derive(Clone)]
pub(super) struct ProbeState {
    pub backend: Arc<dyn ProbeBackend>,
    pub metrics: Metrics,
    /// History of this process. The engine has none.
    pub history: Option<History>,
}

/// State of the server's handlers.
#[derive(Clone)]
pub struct ApiState {
    pub(super) access: Access,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) history: History,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    /// Ends requests that wait for a decision.
    pub(super) shutdown: CancellationToken,
    /// Value that `/send-test-metric` sent last.
    pub(super) last_test: Arc<parking_lot::Mutex<Option<f64>>>,
    pub(super) plugins: Option<PluginsState>,
    pub(super) kill_switch: Option<KillSwitch>,
    pub(super) recorded_switch: RecordedSwitch,
    pub(super) silences: Option<Silences>,
    pub(super) feedback: Option<Feedback>,
    /// Permits of test metrics that wait for their decision.
    pub(super) tests: Arc<Semaphore>,
}

impl ApiState {
    /// Creates the state for [`crate::router`], without the optional routes.
    pub fn new(
        access: Access,
        backend: Arc<dyn Backend>,
        history: History,
        metrics: Metrics,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            access,
            backend,
            history,
            metrics,
            clock,
            shutdown,
            last_test: Arc::default(),
            plugins: None,
            kill_switch: None,
            recorded_switch: RecordedSwitch::default(),
            silences: None,
            feedback: None,
            tests: Arc::new(Semaphore::new(MAX_CONCURRENT_TESTS)),
        }
    }

    /// Enables the plugin routes. `configured` holds the grants of the configuration, `watched_by`
    /// the detectors that its signals name.
    #[must_use]
    pub fn with_plugins(
        mut self,
        plugins: Plugins,
        configured: Vec<Grant>,
        watched_by: Vec<String>,
    ) -> Self {
        self.plugins = Some(PluginsState::new(plugins, configured, watched_by));
        self
    }

    /// Enables the routes of the kill switch.
    #[must_use]
    pub fn with_kill_switch(mut self, kill_switch: KillSwitch) -> Self {
        self.kill_switch = Some(kill_switch);
        self
    }

    /// Enables the routes of silences.
    #[must_use]
    pub fn with_silences(mut self, silences: Silences) -> Self {
        self.silences = Some(silences);
        self
    }

    /// Enables the routes of feedback.
    #[must_use]
    pub fn with_feedback(mut self, feedback: Feedback) -> Self {
        self.feedback = Some(feedback);
        self
    }

    /// Sets the value that `/metrics-test` shows.
    pub(super) fn set_last_test(&self, value: f64) {
        *self.last_test.lock() = Some(value);
    }
}

impl FromRef<ApiState> for ProbeState {
    fn from_ref(state: &ApiState) -> Self {
        let backend = Arc::clone(&state.backend);
        Self {
            backend,
            metrics: state.metrics.clone(),
            history: Some(state.history.clone()),
        }
    }
}

impl FromRef<ApiState> for HistoryReader {
    fn from_ref(state: &ApiState) -> Self {
        state.history.searches().clone()
    }
}

/// State of the engine's handlers.
#[derive(Clone)]
pub struct EngineState {
    pub(super) access: Access,
    pub(super) backend: Arc<dyn ProbeBackend>,
    pub(super) metrics: Metrics,
}

impl EngineState {
    /// Creates the state for [`crate::engine_router`].
    pub fn new(access: Access, backend: Arc<dyn ProbeBackend>, metrics: Metrics) -> Self {
        Self {
            access,
            backend,
            metrics,
        }
    }
}

impl FromRef<EngineState> for ProbeState {
    fn from_ref(state: &EngineState) -> Self {
        Self {
            backend: Arc::clone(&state.backend),
            metrics: state.metrics.clone(),
            history: None,
        }
    }
}
