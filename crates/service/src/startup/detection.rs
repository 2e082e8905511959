//! Detection and diagnosis: the steps of the engine.

use std::sync::Arc;
use std::time::Duration;

use anomalyzer_collect::MetricSource;
use anomalyzer_detect::{IncidentLog, StateStore, state_store};
use anomalyzer_diagnose::Diagnoser;
use anomalyzer_domain::Incident;
use anomalyzer_remediate::candidate_actions;

use super::parts::Startup;
use crate::background::{self, EngineWork};
use crate::engine::{EngineFactory, EngineParts};
use crate::health_check::HealthCheck;

/// Longest wait at the start until the engine has read the open incidents from the bus.
const INCIDENTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Parts of the engine, and its health checks.
pub(super) struct Engine {
    pub(super) work: Arc<EngineWork>,
    pub(super) checks: Vec<HealthCheck>,
}

impl Startup {
    /// Prepares detection and diagnosis.
    pub(super) async fn detection(
        &self,
        source: &Arc<dyn MetricSource>,
        open: &[Incident],
    ) -> anyhow::Result<Engine> {
        let config = &self.config;
        let known = self.known_incidents(open).await;
        let memory_path = config.data_dir.join(state_store::FILE_NAME);
        let engine = EngineFactory::new(EngineParts {
            config: Arc::clone(config),
            bus: Arc::clone(&self.bus),
            plugins: self.plugins.clone(),
            source: Arc::clone(source),
            status: Arc::clone(&self.detection),
            dropped: Arc::clone(&self.dropped),
            progress: Arc::clone(&self.progress),
            known,
            feedback: self.feedback.clone(),
            memory: StateStore::open(&memory_path, config.memory.clone()).await?,
        });
        let (diagnose, ollama) = (config.diagnose.clone(), config.ollama.clone());
        let offer = candidate_actions(config.candidates(), self.plugins.clone());
        let diagnoser = Diagnoser::new(diagnose, ollama, offer, self.clock.clone());
        let diagnoser = Arc::new(diagnoser.map_err(anyhow::Error::msg)?);
        let work = EngineWork {
            bus: Arc::clone(&self.bus),
            engine,
            diagnoser: Arc::clone(&diagnoser),
        };
        let detectors = HealthCheck::Detectors(Arc::clone(&self.detection));
        Ok(Engine {
            work: Arc::new(work),
            checks: vec![detectors, HealthCheck::Analyst(diagnoser)],
        })
    }

    /// Reads the open incidents from the bus, and adds those in `open`, which come from the
    /// history: the topic may no longer have them.
    async fn known_incidents(&self, open: &[Incident]) -> IncidentLog {
        let known = IncidentLog::default();
        background::spawn_incident_follower(&self.tasks, &self.bus, &known);
        if !known.caught_up(INCIDENTS_TIMEOUT).await {
            tracing::warn!(
                waited = ?INCIDENTS_TIMEOUT,
                "cannot read the open incidents in time: an incident may be opened a second time"
            );
        }
        for incident in open {
            known.seed(incident.clone());
        }
        known
    }
}
